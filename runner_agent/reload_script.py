"""The script in a page that loads it anew when there is something new to see. It keeps no state beside the page's mark.

While a tab is hidden it asks nothing: browsers open six connections to a host, and each open question holds one. Where the page
has a client that follows edits by itself, which keeps what the page holds, that client is left to it. Such a client hears of no
edit before it is connected: so the script tells for how long the page has been there, and the agent, which sees connections being
opened, whether there was one since. Once connections broke, as ours did, nobody knows what such a client makes of it: some never
connect again, or for another purpose only. So the next edit loads the page anew. A page that stands for an error holds nothing,
and such a client may have no part of the app in it to renew: it is loaded anew.

A browser restores the place to which a page was scrolled when it is loaded anew. The script's element is gone before the page's
own scripts run, as some compare what is there with what they made.

A frame leaves the question to the page around it, if that is of the same origin and as new: six frames that asked would hold all
connections. Where a policy in the page's HTML forbids the question, no more are asked after those that met it.
"""

from __future__ import annotations

SCRIPT = rb"""(() => {
  const own = document.currentScript, ask = self.fetch;
  const globals = /^(webpackHotUpdate|__next_f$|__NEXT_DATA__$|___browserSync___|LiveReload$|__turbopack)/;
  const clients = 'script[src*="/@vite/client"],script[src*="livereload.js"]';
  if (!own || !ask || self.__sandboxReload) return;
  own.remove();
  const { follows: known, failed } = own.dataset;
  const global = () => Object.keys(self).some((name) => globals.test(name));
  const here = { inside: new Set(), seen: () => seen, empty: Boolean(failed) };
  const follows = () => !here.empty && (known || document.querySelector(clients) || global());
  let seen = own.dataset.seen, open = null, pause = 0, young = true, cut = false, forbidden = false;
  const news = (missed) => { // whether the page is loaded anew
    const anew = missed || !follows();
    if (anew) location.reload();
    else here.inside.forEach((tell) => tell(false));
    return anew;
  };
  self.__sandboxReload = here;
  const around = () => {
    try {
      return self !== parent && parent.__sandboxReload && parent.__sandboxReload.seen() === seen && parent.__sandboxReload.inside;
    } catch {
      return null; // of another origin
    }
  };
  const others = around();
  if (others) {
    others.add(news);
    addEventListener("pagehide", () => others.delete(news));
    addEventListener("pageshow", () => others.add(news));
    return;
  }
  document.addEventListener("securitypolicyviolation", (event) => {
    forbidden ||= event.disposition === "enforce" && event.blockedURI.startsWith(location.origin + "/.sandbox/");
  });
  const begun = performance.now();
  const broke = () => { cut = true; pause = Math.min(5000, pause + 1000); };
  const look = async () => {
    if (document.hidden || open || forbidden) return;
    const mine = (open = new AbortController());
    let again = true;
    try {
      let question = "/.sandbox/changed?seen=" + encodeURIComponent(seen);
      if (young) question += "&age=" + Math.round(performance.now() - begun);
      const answer = await ask(question, { cache: "no-store", signal: mine.signal });
      if (answer.status === 200) {
        const told = await answer.json();
        pause = 0;
        seen = told.mark;
        young = told.missed;
        if (told.new && news(young || cut)) return;
      } else {
        again = answer.status >= 500 || answer.status === 429;
        broke();
      }
    } catch {
      if (open === mine) broke();
    }
    if (open === mine) open = null;
    if (again) setTimeout(look, pause);
  };
  const leave = () => { if (open) open.abort(); open = null; };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : look()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", look);
  look();
})();
"""
