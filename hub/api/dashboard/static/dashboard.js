// SPDX-License-Identifier: Apache-2.0
// Fetches the page again when the hub says that something is new, and copies trytes.
// Without it every page works; it only does not change by itself.
"use strict";
(() => {
  const state = document.getElementById("live");
  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };
  let busy = false;
  let again = false;

  function swap(fresh) {
    for (const part of fresh.querySelectorAll("[data-live]")) {
      const old = document.getElementById(part.id);
      if (!old || old.innerHTML === part.innerHTML) continue;
      // Nothing is taken from under a hand: a focus, a selection, an opened table.
      if (old.contains(document.activeElement)) continue;
      const chosen = document.getSelection();
      if (chosen && !chosen.isCollapsed && old.contains(chosen.anchorNode)) continue;
      if (old.querySelector("details[open]")) continue;
      old.replaceWith(document.importNode(part, true));
    }
    equip();
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const reply = await fetch(location.href, { headers: { "X-Saltkeep-Refresh": "1" } });
      if (reply.status === 401) { over(); return; }
      if (reply.ok) swap(new DOMParser().parseFromString(await reply.text(), "text/html"));
      say("live");
    } catch { say("not live"); } finally { busy = false; }
    if (again) { again = false; setTimeout(refresh, 500); }
  }

  function over() { source.close(); location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search)); }

  function equip() {
    for (const whole of document.querySelectorAll("[data-copy]:not([data-equipped])")) {
      whole.dataset.equipped = "1";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "copy";
      button.setAttribute("aria-label", "copy " + (whole.dataset.copy || "this"));
      button.addEventListener("click", async () => {
        try { await navigator.clipboard.writeText(whole.textContent.trim()); button.textContent = "copied"; }
        catch { getSelection().selectAllChildren(whole); }
      });
      whole.after(button);
    }
  }

  equip();
  if (!state) return;
  const source = new EventSource("/live");
  let first = true;
  source.addEventListener("news", () => { if (first) { first = false; say("live"); } else refresh(); });
  source.addEventListener("over", over);
  source.addEventListener("error", () => { say("not live"); if (source.readyState === EventSource.CLOSED) refresh(); });
})();
