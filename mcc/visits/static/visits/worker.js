// Keeps the officers' page on the telephone. It reaches pages under /visits/phone/ and what they
// load. What was written down waits elsewhere (queue.js) and is sent by the page.
importScripts("/static/people/keep-pages.js");

keepPages({
  family: "kentongan-visits-",
  version: 3,
  first: [
    "/visits/phone/",
    "/visits/phone/words.js",
    "/static/people/people.css",
    "/static/visits/visits.css",
    "/static/visits/phone.js",
    "/static/visits/form.js",
    "/static/visits/picture.js",
    "/static/visits/queue.js",
    "/static/visits/who.js",
  ],
  home: "/visits/phone/",
  reaches: (path) => path.startsWith("/visits/phone/") || path.startsWith("/static/visits/") || path === "/static/people/people.css",
});
