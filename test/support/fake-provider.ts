/** A provider that publishes what a test tells it. */
import { parseAddress, parsePrefix } from '../../common/address.ts';
import type { GroupView, Member, Provider } from '../../agent/membership/provider.ts';

export class FakeProvider implements Provider {
  readonly name: string;
  #publish: (view: GroupView) => void = () => {};
  readonly #first: GroupView;

  constructor(first: GroupView = { members: [], prefixes: [] }, name = 'fake') {
    this.name = name;
    this.#first = first;
  }

  start(publish: (view: GroupView) => void): Promise<void> {
    this.#publish = publish;
    publish(this.#first);
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  publish(view: GroupView): void {
    this.#publish(view);
  }
}

/** A view of members that are written as `10.0.0.1`, `fd77::1` or `10.0.0.1:43800` (with the object manager's port). */
export function membersView(...texts: readonly string[]): GroupView {
  return { members: texts.map(member), prefixes: [] };
}

/** A view of ranges. */
export function prefixesView(...texts: readonly string[]): GroupView {
  return { members: [], prefixes: texts.map((text) => parsePrefix(text) ?? fail(text)) };
}

function member(text: string): Member {
  const [, address = '', port] =
    parseAddress(text) === undefined ? (/^(.*?)(?::(\d+))?$/.exec(text) ?? []) : ['', text];
  return {
    id: address,
    addresses: [parseAddress(address) ?? fail(text)],
    ports: new Map(port === undefined ? [] : [['object-manager', [Number(port)]]]),
    source: 'fake',
  };
}

function fail(text: string): never {
  throw new Error(`no address: ${text}`);
}
