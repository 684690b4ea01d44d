/** A view that counts what is read of it, for tests that ask how much a packet costs. */

/** Reads past its end throw as those of any view do: make it exactly as long as what may be read. */
export class CanaryView extends DataView<ArrayBuffer> {
  reads = 0;

  override getUint8(offset: number): number {
    this.reads++;
    return super.getUint8(offset);
  }

  override getUint16(offset: number, isLittleEndian?: boolean): number {
    this.reads++;
    return super.getUint16(offset, isLittleEndian);
  }

  override getUint32(offset: number, isLittleEndian?: boolean): number {
    this.reads++;
    return super.getUint32(offset, isLittleEndian);
  }
}
