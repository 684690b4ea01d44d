import { describe, expect, it } from 'vitest';
import { parseCgroup } from '../../../agent/process/cgroup.ts';

const ID = '0123456789abcdef'.repeat(4);
const OTHER_ID = 'fedcba9876543210'.repeat(4);
const UID = '6fd1b6f0-2f0c-4a45-9f29-2d7f4a6a3c10';
const UID_IN_SYSTEMD = UID.replaceAll('-', '_');

describe('parseCgroup', () => {
  it.each([
    ['docker, v1', `12:cpuset:/docker/${ID}\n11:memory:/docker/${ID}\n0::/system.slice/containerd.service\n`],
    ['docker, v2', `0::/system.slice/docker-${ID}.scope\n`],
    ['podman', `0::/machine.slice/libpod-${ID}.scope/container\n`],
    [
      'rootless podman',
      `0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-${ID}.scope/container\n`,
    ],
    ['nerdctl', `0::/system.slice/nerdctl-${ID}.scope\n`],
    ['docker in docker', `0::/docker/${OTHER_ID}/docker/${ID}\n`],
    ['docker, seen from a namespace of control groups', `0::/../docker-${ID}.scope\n`],
  ])('knows the container of %s', (_title, text) => {
    expect(parseCgroup(text)).toEqual({ containerId: ID });
  });

  it.each([
    ['v1', `5:cpu:/kubepods/burstable/pod${UID}/${ID}\n`],
    [
      'containerd, v2',
      `0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID_IN_SYSTEMD}.slice/cri-containerd-${ID}.scope\n`,
    ],
    [
      'CRI-O, v2',
      `0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${UID_IN_SYSTEMD}.slice/crio-${ID}.scope\n`,
    ],
    [
      'containerd with the names of v1',
      `0::/system.slice/containerd.service/kubepods-burstable-pod${UID_IN_SYSTEMD}.slice:cri-containerd:${ID}\n`,
    ],
  ])('knows container and pod of Kubernetes with %s', (_title, text) => {
    expect(parseCgroup(text)).toEqual({ containerId: ID, podUid: UID });
  });

  it('knows a static pod, whose uid is a hash', () => {
    const hash = '0123456789abcdef'.repeat(2);
    expect(parseCgroup(`0::/kubepods/pod${hash}/${ID}\n`)).toEqual({ containerId: ID, podUid: hash });
  });

  it.each([
    ['a service', '0::/system.slice/ssh.service\n'],
    ['the monitor of a container', `0::/machine.slice/libpod-conmon-${ID}.scope\n`],
    ['another number', `0::/user.slice/${ID}0\n`],
    ['nothing', ''],
  ])('says nothing of %s', (_title, text) => {
    expect(parseCgroup(text)).toEqual({});
  });
});
