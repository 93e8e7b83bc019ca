// What is written down and not sent yet: in the browser's database, synced to the disk, until the
// server says that it is on its own. Bounded; at the bound the form is told so and keeps its content.
export const NAME = "kentongan-visits";

export class QueueFull extends Error {}

export class Queue {
  // `user_id`: whose draft it is; what waits is everybody's who uses this telephone.
  constructor(most, user_id) {
    this.most = most;
    this.draftKey = `draft/${user_id}`;
    this.opened = new Promise((done, failed) => {
      const asked = indexedDB.open(NAME, 1);
      asked.onupgradeneeded = () => {
        asked.result.createObjectStore("visits", { keyPath: "visit_id" });
        asked.result.createObjectStore("drafts");
      };
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => failed(asked.error);
      asked.onblocked = () => failed(new Error("another page holds an older version open"));
    });
  }

  // Runs `work(visits, drafts)`; what it returns is a request whose result counts once all is synced.
  async within(mode, work) {
    const database = await this.opened;
    return new Promise((done, failed) => {
      const all = database.transaction(["visits", "drafts"], mode, { durability: "strict" });
      let asked;
      all.oncomplete = () => done(asked?.result);
      all.onabort = () => failed(all.why ?? all.error);
      asked = work(all.objectStore("visits"), all.objectStore("drafts"), all);
    });
  }

  // The oldest first.
  async all() {
    const items = await this.within("readonly", (visits) => visits.getAll());
    return items.sort((one, other) => one.added_ms - other.added_ms);
  }

  // Puts a visit in, in the place of `replaces` if that is given; the draft has become it.
  async add(item, replaces) {
    await this.within("readwrite", (visits, drafts, all) => {
      if (replaces) visits.delete(replaces);
      const counted = visits.count();
      counted.onsuccess = () => {
        if (counted.result >= this.most) {
          all.why = new QueueFull();
          all.abort();
          return;
        }
        visits.add(item);
        drafts.delete(this.draftKey);
      };
    });
  }

  async remove(id) {
    await this.within("readwrite", (visits) => visits.delete(id));
  }

  // Writes down why the server refuses it; one that has been sent meanwhile does not come back.
  async refuse(id, refused) {
    await this.within("readwrite", (visits) => {
      const found = visits.get(id);
      found.onsuccess = () => found.result && visits.put({ ...found.result, refused });
    });
  }

  async draft() {
    return this.within("readonly", (_visits, drafts) => drafts.get(this.draftKey));
  }

  // Throws away what is half entered, but this person's.
  async forgetDrafts(user_id) {
    const kept = `draft/${user_id}`;
    await this.within("readwrite", (_visits, drafts) => {
      drafts.delete(IDBKeyRange.upperBound(kept, true));
      drafts.delete(IDBKeyRange.lowerBound(kept, true));
    });
  }

  async keepDraft(draft) {
    await this.within("readwrite", (_visits, drafts) => drafts.put(draft, this.draftKey));
  }
}
