// node-redis createCluster: as ioredis_client.js. It leaves retries after a broken connection to its user.
const { createCluster } = require("redis");
const readline = require("readline");

const KEYS = 10000;
const ports = process.argv.slice(2).map(Number);
const cluster = createCluster({
  rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })),
  defaults: { socket: { connectTimeout: 2000, reconnectStrategy: () => 100 } },
  maxCommandRedirections: 60,
});
cluster.on("error", () => {});

async function patiently(ask) {
  for (let attempt = 0; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (attempt >= 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

// What a primary had confirmed just before it died, its replica may lack: at most LOST_MAX keys, and no wrong value.
const LOST_MAX = 200;

async function round(name, lostMax) {
  let lost = 0;
  for (let start = 0; start < KEYS; start += 100) {
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => patiently(() => cluster.set(`nr:${name}:${start + i}`, `v${start + i}`))),
    );
  }
  console.log("written");
  for (let start = 0; start < KEYS; start += 100) {
    const values = await Promise.all(
      Array.from({ length: 100 }, (_, i) => patiently(() => cluster.get(`nr:${name}:${start + i}`))),
    );
    values.forEach((value, i) => {
      if (value === null && ++lost <= lostMax) return;
      if (value !== `v${start + i}`) throw new Error(`key ${start + i} of round ${name}: ${value}`);
    });
  }
  console.log("read");
}

async function main() {
  await cluster.connect();
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
