// ioredis by Sentinels: writes and reads, and, told so on standard input, goes on while the primary dies. Prints
// "written", and "done" when a write after that has been read back. Arguments: ports of the Sentinels.
const Redis = require("ioredis");
const readline = require("readline");

const client = new Redis({
  sentinels: process.argv.slice(2).map((port) => ({ host: "127.0.0.1", port: Number(port) })),
  name: "mymaster",
  sentinelRetryStrategy: () => 100,
  retryStrategy: () => 100,
  maxRetriesPerRequest: null,
  reconnectOnError: (error) => error.message.startsWith("READONLY") && 2,
});
client.on("error", () => {});

async function main() {
  await client.set("key", "calm");
  if ((await client.get("key")) !== "calm") throw new Error("not read back");
  console.log("written");
  const lines = readline.createInterface({ input: process.stdin });
  await new Promise((resolve) => lines.once("line", resolve));
  await client.set("key", "storm");
  if ((await client.get("key")) !== "storm") throw new Error("not read back after the storm");
  console.log("done");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
