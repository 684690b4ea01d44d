/**
 * What bench/replay compares with: the flows of a capture by the npm package `pcap-parser` and a map, as one would
 * write it in ten minutes. Prints the number of flows and packets as JSON.
 */
import pcapParser from 'pcap-parser';

const flows = new Map();
let packets = 0;
const parser = pcapParser.parse(process.argv[2]);
parser.on('packet', ({ header, data }) => {
  packets++;
  if (data.readUInt16BE(12) !== 0x0800 || data[23] !== 6) return;
  const tcp = 14 + (data[14] & 15) * 4;
  const source = `${data.readUInt32BE(26)}:${data.readUInt16BE(tcp)}`;
  const destination = `${data.readUInt32BE(30)}:${data.readUInt16BE(tcp + 2)}`;
  const key = source < destination ? `${source}-${destination}` : `${destination}-${source}`;
  const flow = flows.get(key);
  if (flow === undefined) flows.set(key, { packets: 1, bytes: header.originalLength });
  else {
    flow.packets++;
    flow.bytes += header.originalLength;
  }
});
parser.on('end', () => console.log(JSON.stringify({ flows: flows.size, packets })));
