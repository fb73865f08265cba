// Prints the nodes' addresses as ioredis and node-redis know them after they have used the whole cluster.
// node nodes_seen.js HOST PORT
const Redis = require("ioredis");
const { createCluster } = require("redis");

async function main(host, port) {
  const first = new Redis.Cluster([{ host, port: Number(port) }]);
  for (let i = 0; i < 50; i++) await first.set(`io:${i}`, i);
  console.log(first.nodes("master").map((node) => `${node.options.host}:${node.options.port}`).sort().join(" "));
  await first.quit();
  const second = createCluster({ rootNodes: [{ url: `redis://${host}:${port}` }] });
  await second.connect();
  for (let i = 0; i < 50; i++) await second.set(`node:${i}`, String(i));
  console.log(second.masters.map((node) => node.address).sort().join(" "));
  await second.disconnect();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
