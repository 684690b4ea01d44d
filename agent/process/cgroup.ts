/** Which container and pod a process is in, by the paths of its control groups (cgroups(7)). */

/** What the control groups tell; all undefined for a process of the host itself. */
export interface Containment {
  /** 64 hexadecimal digits, as docker, containerd, CRI-O and podman name their containers. */
  readonly containerId?: string;
  /** The uid of the Kubernetes pod. */
  readonly podUid?: string;
}

/**
 * `/docker/ID`, `….slice:cri-containerd:ID` (cgroup v1), `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`,
 * `libpod-ID.scope` (systemd). The monitor of a container (`crio-conmon-ID.scope`) is outside of it.
 */
const CONTAINER = /(?:[/:]|[/:](?!(?:crio|libpod)-conmon-)[a-z][a-z-]*-)([0-9a-f]{64})(?:\.scope)?(?=\/|$)/gm;
/** `/pod1234-…` or `-pod1234_….slice`, where systemd's names have no dashes; static pods have 32 digits. */
const POD = /[/-]pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?=[/:]|$)/m;

/** @param text /proc/PID/cgroup, of either version: lines of `hierarchy:controllers:path` */
export function parseCgroup(text: string): Containment {
  // A container in a container: the innermost is the one.
  const containerId = [...text.matchAll(CONTAINER)].at(-1)?.[1];
  const podUid = POD.exec(text)?.[1]?.replaceAll('_', '-');
  return {
    ...(containerId === undefined ? {} : { containerId }),
    ...(podUid === undefined ? {} : { podUid }),
  };
}
