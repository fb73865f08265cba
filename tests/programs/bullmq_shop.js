// BullMQ: `worker` runs jobs until it is ended, `drive` asks for jobs and prints what became of them as JSON.
'use strict';
const { Queue, Worker, QueueEvents, FlowProducer } = require('bullmq');

const connection = { host: '127.0.0.1', port: Number(process.env.HEXAD_PORT), maxRetriesPerRequest: null };
// Its scripts take keys of several kinds at once: where there are slots, a tag keeps them together.
const settings = process.env.HEXAD_CLUSTER ? { connection, prefix: '{bull}' } : { connection };
const RESULT_TIMEOUT_MS = 60000;
const JOBS = 100;

const kinds = {
  square: async (job) => job.data.number ** 2,
  flaky: async (job) => {
    if (job.attemptsMade < job.data.failures) throw new Error('not yet');
    return job.attemptsMade;
  },
  broken: async () => { throw new Error('always'); },
  tick: async (job) => { await (await job.queue.client).incr('ticks'); },
  rank: async (job) => { await job.log('ranked'); return job.data.rank; },
  sum: async (job) => Object.values(await job.getChildrenValues()).reduce((one, other) => one + other, 0),
};

async function work() {
  const worker = new Worker('shop', (job) => kinds[job.name](job), { ...settings, concurrency: 4 });
  await worker.waitUntilReady();
  console.log('ready');
  process.on('SIGTERM', async () => { await worker.close(); process.exit(0); });
}

async function ranks(events) {
  // In a queue of its own with one worker at a time: what is asked for while it is paused comes out by rank.
  const queue = new Queue('ranked', settings);
  await queue.pause();
  const order = [];
  const jobs = [];
  for (const rank of [5, 1, 3, 2, 4]) jobs.push(await queue.add('rank', { rank }, { priority: rank }));
  const worker = new Worker('ranked', async (job) => { order.push(job.data.rank); }, { ...settings, concurrency: 1 });
  const waiting = await queue.getPrioritizedCount();
  await queue.resume();
  await Promise.all(jobs.map((job) => job.waitUntilFinished(events, RESULT_TIMEOUT_MS)));
  await worker.close();
  await queue.close();
  return { waiting, order };
}

async function drive() {
  const queue = new Queue('shop', settings);
  const events = new QueueEvents('shop', settings);
  const rankedEvents = new QueueEvents('ranked', settings);
  const flows = new FlowProducer(settings);
  await Promise.all([events.waitUntilReady(), rankedEvents.waitUntilReady()]);
  const result = (job) => job.waitUntilFinished(events, RESULT_TIMEOUT_MS);
  const asked = Date.now();
  const late = await queue.add('square', { number: 12 }, { delay: 1000 });
  const squares = await queue.addBulk([...Array(JOBS).keys()].map((number) => ({ name: 'square', data: { number } })));
  const flaky = await queue.add('flaky', { failures: 2 }, { attempts: 5, backoff: { type: 'fixed', delay: 50 } });
  const broken = await queue.add('broken', {});
  const same = [await queue.add('square', { number: 3 }, { jobId: 'same' }),
    await queue.add('square', { number: 4 }, { jobId: 'same' })];
  const children = [1, 2, 3].map((number) => ({ name: 'square', data: { number }, queueName: 'shop' }));
  const flow = await flows.add({ name: 'sum', queueName: 'shop', data: {}, children });
  await queue.upsertJobScheduler('ticking', { every: 200, limit: 4 }, { name: 'tick' });
  const seen = {
    squares: await Promise.all(squares.map(result)),
    flaky: await result(flaky),
    broken: await result(broken).catch((error) => error.message),
    same: await result(same[1]),
    flow: await result(flow.job),
    late: await result(late),
  };
  seen.tookItsTime = Date.now() - asked >= 1000;
  seen.ranked = await ranks(rankedEvents);
  const client = await queue.client;
  while (Number(await client.get('ticks')) < 4) await new Promise((resolve) => setTimeout(resolve, 20));
  seen.ticks = Number(await client.get('ticks'));
  const { failed, active, waiting, ...rest } = await queue.getJobCounts();
  seen.counts = { failed, active, waiting, waitingForChildren: rest['waiting-children'] };
  seen.failed = (await queue.getFailed()).map((job) => [job.name, job.failedReason]);
  await Promise.all([queue.close(), events.close(), rankedEvents.close(), flows.close()]);
  console.log(JSON.stringify(seen));
}

({ work, drive })[process.argv[2]]().catch((error) => { console.error(error); process.exit(1); });
