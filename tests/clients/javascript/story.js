// SPDX-License-Identifier: Apache-2.0
// The JavaScript client lives a whole story on a devnet and prints it as JSON.
// Usage: node story.js URL STEP [ARGUMENT]; the test ticks between the steps.
'use strict';
const { composeAPI, generateAddress } = require('@iota/core');

const SEED = 'SALTKEEP9CLIENT9STORY'.padEnd(81, '9');
const RECEIVER = 'RECEIVER'.padEnd(81, '9');
const REMAINDER = 'REMAINDER'.padEnd(81, '9');
const AMOUNT_I = 1000000;
const DEPTH = 3;
const MWM = 1;

const [, , url, step, argument] = process.argv;
const genesis = generateAddress(SEED, 0, 2);
const iota = composeAPI({ provider: url });

async function look(bundle, tail) {
  const addresses = [genesis, RECEIVER, REMAINDER];
  return {
    balances: (await iota.getBalances(addresses)).balances,
    states: await iota.getInclusionStates([tail]),
    spent: await iota.wereAddressesSpentFrom(addresses),
    hashes: await iota.findTransactions({ bundles: [bundle] }),
  };
}

const steps = {
  async address() {
    return { genesis };
  },
  async send() {
    const info = await iota.getNodeInfo();
    const { balances } = await iota.getBalances([genesis]);
    const transfers = [{ address: RECEIVER, value: AMOUNT_I, tag: 'STORY' }];
    const trytes = await iota.prepareTransfers(SEED, transfers, {
      inputs: [{ address: genesis, keyIndex: 0, security: 2, balance: balances[0] }],
      remainderAddress: REMAINDER,
    });
    const sent = await iota.sendTrytes(trytes, DEPTH, MWM);
    const { hash: tail, bundle } = sent[0];
    const pending = await look(bundle, tail);
    const replayed = await iota.replayBundle(tail, DEPTH, MWM);
    const promotable = await iota.isPromotable(tail);
    const promotion = await iota.promoteTransaction(tail, DEPTH, MWM);
    return {
      info,
      tail,
      bundle,
      hashes: sent.map((tx) => tx.hash),
      values: sent.map((tx) => tx.value),
      pending,
      replayed: replayed.map((tx) => ({ hash: tx.hash, bundle: tx.bundle })),
      promotable,
      promotion: promotion.map((round) => round.map((tx) => tx.branchTransaction)),
    };
  },
  async confirm() {
    const { tail, bundle } = JSON.parse(argument);
    return {
      ...(await look(bundle, tail)),
      values: (await iota.getBundle(tail)).map((tx) => tx.value),
    };
  },
};

steps[step]().then(
  (result) => console.log(JSON.stringify(result)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  }
);
