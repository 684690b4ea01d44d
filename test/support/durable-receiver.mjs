/**
 * A receiver of webhooks as a program, to be killed at any moment: a message is on the disk before it is answered.
 *
 * Usage: node durable-receiver.mjs PORT FILE; each message is a line of JSON in the file, repeats included.
 */
import { fsyncSync, openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';

const [port, path] = process.argv.slice(2);
const file = openSync(path, 'a', 0o600);

createServer((request, response) => {
  const chunks = [];
  request.on('error', () => {});
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (request.method === 'POST') {
      const body = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      writeSync(file, `${JSON.stringify({ id: request.headers['webhook-id'], body })}\n`);
      fsyncSync(file);
    }
    response.end('ok');
  });
}).listen(Number(port), '127.0.0.1');
