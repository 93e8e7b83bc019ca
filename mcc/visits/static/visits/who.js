// Who is signed in in this browser, as the server has said last (`mcc/people/signing.py`); known also
// without a network. 0: nobody is; null: nobody has been since there is this cookie.
export function signedInHere() {
  const found = /(?:^|; )kentongan_who=(\d+)/.exec(document.cookie);
  return found ? Number(found[1]) : null;
}
