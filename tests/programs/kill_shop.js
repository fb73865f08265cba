// BullMQ while nodes are killed: `work` does jobs until it is ended, `ask` asks for jobs until a file says that it is over.
// As kill_shop.py, whose words it prints: a job that no replica has is asked for again.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const { Queue, Worker } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.env.HEXAD_PORT), maxRetriesPerRequest: null };
const settings = { connection, prefix: '{bull}' };
const file = (name) => path.join(process.env.HEXAD_DIR, name);
const PAUSE_MS = 100;
const WAIT_MS = 500;
const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));

async function work() {
  const worker = new Worker('kills', async (job) => fs.appendFileSync(file('done'), `${job.data.number}\n`), {
    ...settings, lockDuration: 10000, stalledInterval: 5000, maxStalledCount: 50,
  });
  worker.on('error', (error) => console.log(String(error)));
  await worker.waitUntilReady();
  console.log('ready');
}

async function ask() {
  const queue = new Queue('kills', settings);
  queue.on('error', () => {});
  const client = await queue.client;
  const told = [];
  let asked = 0;
  let longestMs = 0;
  while (!fs.existsSync(file('over'))) {
    const began = Date.now();
    try {
      await queue.add('task', { number: asked }, { jobId: `job-${asked}`, attempts: 50 });
      if (Number(await client.wait(1, WAIT_MS)) < 1) {
        told.push('no replica has it');
        continue;
      }
      longestMs = Math.max(longestMs, Date.now() - began);
      asked += 1;
    } catch (error) {
      told.push(String(error));
    }
    await pause();
  }
  console.log(JSON.stringify({ asked, told, longest_s: longestMs / 1000 }));
  process.exit(0);
}

({ work, ask })[process.argv[2]]().catch((error) => { console.error(error); process.exit(1); });
