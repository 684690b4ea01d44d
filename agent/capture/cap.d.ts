/** The part of the npm package `cap` 0.2 that we use; it has no types of its own. */
declare module 'cap' {
  export interface Device {
    readonly name: string;
    readonly flags?: 'PCAP_IF_LOOPBACK';
  }

  export class Cap {
    /**
     * Opens a device promiscuously with a snaplen of 65,535 bytes and returns the link type's name (`ETHERNET`, `NULL`,
     * `RAW`, `IEEE802_11_RADIO`, `LINKTYPE_LINUX_SLL`, or `Unknown linktype N`). Each packet is copied to the
     * start of `buffer` before `packet` is emitted.
     */
    open(device: string, filter: string, kernelBufferBytes: number, buffer: Buffer): string;
    /** Stops and frees; false when it was closed already. */
    close(): boolean;
    on(event: 'packet', listener: (lengthBytes: number, isTruncated: boolean) => void): this;
    removeAllListeners(): this;
    /** Name of the first device with an address, or of the one with the given address. */
    static findDevice(address?: string): string | undefined;
    static deviceList(): Device[];
  }
}
