// ioredis Cluster: writes keys over all slots, reads them back, and, told so on standard input, goes on while a
// primary dies. Prints "written", "read", and, after a second round, "done".
const Redis = require("ioredis");
const readline = require("readline");

const KEYS = 10000;
const ports = process.argv.slice(2).map(Number);
const cluster = new Redis.Cluster(ports.map((port) => ({ host: "127.0.0.1", port })), {
  clusterRetryStrategy: () => 100,
  redisOptions: { connectTimeout: 2000, maxRetriesPerRequest: 50 },
  retryDelayOnFailover: 200,
  retryDelayOnClusterDown: 200,
  maxRedirections: 60,
});
cluster.on("error", () => {});

// What a primary had confirmed just before it died, its replica may lack: at most LOST_MAX keys, and no wrong value.
const LOST_MAX = 200;

async function round(name, lostMax) {
  let lost = 0;
  for (let start = 0; start < KEYS; start += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, i) => cluster.set(`io:${name}:${start + i}`, `v${start + i}`)));
  }
  console.log("written");
  for (let start = 0; start < KEYS; start += 100) {
    const values = await Promise.all(
      Array.from({ length: 100 }, (_, i) => cluster.get(`io:${name}:${start + i}`)),
    );
    values.forEach((value, i) => {
      if (value === null && ++lost <= lostMax) return;
      if (value !== `v${start + i}`) throw new Error(`key ${start + i} of round ${name}: ${value}`);
    });
  }
  console.log("read");
}

async function main() {
  await round("calm", 0);
  const lines = readline.createInterface({ input: process.stdin });
  await new Promise((resolve) => lines.once("line", resolve));
  await round("storm", LOST_MAX);
  console.log("done");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
