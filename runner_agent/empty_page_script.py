"""The script in a page that shows why the page stays empty: the app answers one of its scripts with an error.

Bundlers such as Metro, and esbuild's own server, answer a broken build so, and dev servers a broken module. The reason is in the
answer, which no browser shows. What is shown is text, never markup. The page holds nothing then, and the next edit loads it anew
(:mod:`runner_agent.reload_script`).
"""

from __future__ import annotations

SCRIPT = rb"""(() => {
  const ask = self.fetch, most = 20000, settling = 1000;
  if (!ask || self.__sandboxEmpty) return;
  self.__sandboxEmpty = true;
  const reason = (text) => {
    try {
      const said = JSON.parse(text);
      text = String(said.message ?? said.error ?? text);
    } catch {
      // as it is
    }
    return text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, "").slice(0, most);
  };
  const show = (title, text) => {
    const card = document.createElement("main"), head = document.createElement("h1"), log = document.createElement("pre");
    card.setAttribute("role", "status");
    card.style.cssText = "font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 1.5rem;" +
      "background: #fff; color: #111; border: 1px solid #ddd; border-top: 4px solid rgb(220, 38, 38); border-radius: 8px";
    head.style.cssText = "font-size: 1.25rem; margin: 0";
    log.style.cssText = "white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace";
    head.textContent = title;
    log.textContent = text;
    card.append(head, log);
    document.body.append(card);
  };
  const isEmpty = () => document.body && !document.body.innerText.trim() && !document.querySelector("vite-error-overlay");
  const isOurs = (url) => new URL(url, location.href).origin === location.origin;
  const failed = (entry) => entry.responseStatus >= 400 && isOurs(entry.name);
  const examine = async (source) => {
    const others = performance.getEntriesByType("resource").filter(failed).map((entry) => entry.name).reverse();
    for (const url of [source, ...others].filter((url) => url && isOurs(url)).slice(0, 3)) {
      const answer = await ask(url, { cache: "no-store" });
      if (answer.status < 400) continue;
      const text = reason(await answer.text());
      if (!isEmpty()) return;
      if (self.__sandboxReload) self.__sandboxReload.empty = true;
      return show("The app answers " + new URL(url, location.href).pathname + " with " + answer.status, text);
    }
  };
  let looking = false;
  const look = (source) => {
    if (looking) return;
    looking = true;
    // what cannot be reached has a page of its own that says why
    const later = () => isEmpty() && examine(source).catch(() => {});
    setTimeout(later, settling); // a tool of the app's may show it as well
  };
  addEventListener("error", ({ target }) => target instanceof HTMLScriptElement && look(target.src), true);
  addEventListener("unhandledrejection", () => look("")); // a module that is asked for later
})();
"""
