import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { OpenKubernetesApi } from '../../agent/kubernetes/api.ts';
import { kubernetesOpener } from '../../cli/kubernetes.ts';
import { readText } from '../../common/read-text.ts';
import { hasOpenssl, makeCertificate } from '../support/certificate.ts';
import { KubernetesApiServer } from '../support/kubernetes-api.ts';

describe.skipIf(!hasOpenssl)('kubernetesOpener, with certificates made by openssl', () => {
  let server: KubernetesApiServer;
  let folder: string;
  let cert: string;

  beforeEach(async () => {
    const pair = await makeCertificate();
    cert = pair.cert;
    server = await KubernetesApiServer.open(pair);
    server.put({ name: 'w1', ip: '10.1.0.1' });
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-kubernetes-'));
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await server.close();
    await rm(folder, { recursive: true });
  });

  async function ask(open: OpenKubernetesApi): Promise<[namespace: string, status: number, body: string]> {
    const api = await open();
    const answer = await api.get('/api/v1/namespaces/ray/pods?limit=5', AbortSignal.timeout(20_000));
    return [api.namespace, answer.status, await readText(answer.body, 100_000)];
  }

  it('speaks as the service account of the pod, whose token it reads each time', async () => {
    await writeFile(join(folder, 'ca.crt'), cert);
    await writeFile(join(folder, 'namespace'), 'ray\n');
    await writeFile(join(folder, 'token'), 'first\n');
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) };
    const open = kubernetesOpener({ env, serviceAccount: folder });
    expect(await ask(open)).toEqual(['ray', 200, expect.stringContaining('"w1"')]);
    server.token = 'second';
    expect(await ask(open)).toEqual(['ray', 401, expect.anything()]);
    await writeFile(join(folder, 'token'), 'second\n');
    expect((await ask(open))[1]).toBe(200);
  });

  it('trusts nobody but the cluster’s authority', async () => {
    await writeFile(join(folder, 'ca.crt'), (await makeCertificate()).cert);
    await writeFile(join(folder, 'namespace'), 'ray');
    await writeFile(join(folder, 'token'), 'first');
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) };
    await expect(ask(kubernetesOpener({ env, serviceAccount: folder }))).rejects.toThrow(/self.signed/);
    expect(server.paths).toEqual([]);
  });

  it('takes the kubeconfig outside of a pod', async () => {
    const path = join(folder, 'kubeconfig');
    const authority = Buffer.from(cert).toString('base64');
    const cluster = { name: 'lab', cluster: { server: server.url, 'certificate-authority-data': authority } };
    const config = {
      clusters: [cluster],
      users: [{ name: 'me', user: { token: 'first' } }],
      contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'me', namespace: 'team' } }],
      'current-context': 'lab',
    };
    await writeFile(path, JSON.stringify(config));
    vi.stubEnv('KUBECONFIG', path);
    expect(await ask(kubernetesOpener({ env: { KUBECONFIG: path } }))).toEqual([
      'team',
      200,
      expect.stringContaining('"w1"'),
    ]);
  });

  it('says what is missing where there are no credentials', async () => {
    vi.stubEnv('KUBECONFIG', join(folder, 'missing'));
    await expect(kubernetesOpener({ env: {} })()).rejects.toMatchObject({ code: 'PW_KUBERNETES' });
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' };
    await expect(kubernetesOpener({ env, serviceAccount: folder })()).rejects.toMatchObject({
      code: 'PW_KUBERNETES',
    });
  });
});
