// Keeps every file of the page, so that it works without a network. `version.js` names them; a new version is a new cache.

importScripts("version.js");

const PREFIX = `fundus-synth ${self.registration.scope} `;
const CACHE = PREFIX + self.PAGE.version;

self.addEventListener("install", (event) => {
  const requests = self.PAGE.files.map((name) => new Request(name, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((name) => name.startsWith(PREFIX) && name !== CACHE))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  const address = request.url === self.registration.scope ? new URL("index.html", request.url) : request;
  event.respondWith(
    caches.open(CACHE).then(async (cache) => (await cache.match(address, { ignoreSearch: true })) ?? fetch(request)),
  );
});
