// Keeps the information page on the telephone. It reaches pages under /info/ and what they load.
importScripts("/static/people/keep-pages.js");

keepPages({
  family: "kentongan-information-",
  version: 1,
  first: ["/info/", "/static/community/information.css", "/static/community/information.js"],
  home: "/info/",
  reaches: (path) => path.startsWith("/info/") || path.startsWith("/static/community/"),
});
