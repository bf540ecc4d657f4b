// Asks the guest's agent who this app is, derives a key, and takes evidence over a nonce. The
// reference system's npm package talks to our agent as it is.
import { DstackClient } from '@phala/dstack-sdk';

const nonce = 'a nonce of the relying party';
const agent = new DstackClient();

console.log('app', (await agent.info()).app_id);
// The key itself stays here; what vouches for it may be shown.
const key = await agent.getKey('example', 'demo');
console.log('link', Buffer.from(key.signature_chain[0]).toString('hex'));
const quote = Buffer.from((await agent.getQuote(nonce)).quote, 'hex');
const bound = quote.subarray(568, 568 + nonce.length).toString() === nonce;
console.log('nonce', bound ? 'bound' : 'lost');
