// On the page for signing in, to which signing out leads: what was half entered goes. Not where a
// session has ended by itself: its officer comes back.
import { NAME, Queue } from "./queue.js";
import { signedInHere } from "./who.js";

const known = (await indexedDB.databases?.()) ?? [{ name: NAME }];
if (signedInHere() === 0 && known.some((one) => one.name === NAME)) await new Queue(0, 0).forgetDrafts(0);
