// SPDX-License-Identifier: MIT
// node-redlock for tests/check_store_redlock.sh: `redlock_peer.js KEY SOCKET ...` obeys the words
// acquire, extend and release, a line each, and answers each with ok, held or failed.
'use strict';

const readline = require('node:readline');
const Redis = require('ioredis');
const { default: Redlock, ResourceLockedError } = require('redlock');

const TTL_MS = 20000;
const [key, ...sockets] = process.argv.slice(2);
const clients = sockets.map((path) => {
	const client = new Redis({ path, maxRetriesPerRequest: 0, retryStrategy: () => 100 });

	client.on('error', () => {}); // the test kills servers
	return client;
});
const redlock = new Redlock(clients, { retryCount: 0 });
let lock = null;

redlock.on('error', () => {});

async function obey(word) {
	switch (word) {
	case 'acquire':
		lock = await redlock.acquire([key], TTL_MS);
		break;
	case 'extend':
		lock = await lock.extend(TTL_MS);
		break;
	case 'release':
		await lock.release();
		break;
	default:
		throw new Error(`an unknown word: ${word}`);
	}
}

// What the attempts of an ExecutionError came to.
async function isHeld(error) {
	for (const attempt of await Promise.all(error.attempts || []))
		for (const reason of attempt.votesAgainst.values())
			if (reason instanceof ResourceLockedError)
				return true;
	return error instanceof ResourceLockedError;
}

(async () => {
	for await (const word of readline.createInterface({ input: process.stdin })) {
		try {
			await obey(word);
			console.log('ok');
		} catch (error) {
			console.log((await isHeld(error)) ? 'held' : `failed ${error.message}`);
		}
	}
	process.exit(0);
})();
