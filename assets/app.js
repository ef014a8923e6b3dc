// What the pages gain by a script, beside what they are without: times in the viewer's zone, bars that move, and parts that
// change as things happen. It fetches nothing but the page it is on, and writes no HTML of its own.
'use strict';

const all = (root, selector) => Array.from(root.querySelectorAll(selector));

// --- Times -----------------------------------------------------------------------------------------------------------

// The server's clock decides when a tag may come; this one may be wrong.
let ahead = 0;
const readClock = (root) => {
  ahead = Date.parse(root.dataset.now) - Date.now();
};
const now = () => Date.now() + ahead;

const clock = {hour: '2-digit', minute: '2-digit', second: '2-digit'};
const short = new Intl.DateTimeFormat(undefined, {day: 'numeric', month: 'short', ...clock});
const long = new Intl.DateTimeFormat(undefined, {day: 'numeric', month: 'short', year: 'numeric', ...clock});
const whole = new Intl.DateTimeFormat(undefined, {dateStyle: 'full', timeStyle: 'long'});

const localise = (root) => {
  for (const time of all(root, 'time[datetime]')) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    time.textContent = (at.getFullYear() === new Date(now()).getFullYear() ? short : long).format(at);
    time.title = whole.format(at);
  }
  const zone = root.querySelector('#zone');
  if (zone) zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
};

const lasting = (seconds) => (seconds < 60 ? `${seconds}\u00a0s` : `${Math.floor(seconds / 60)}\u00a0min`);

const countDown = () => {
  let over = false;
  for (const bar of all(document, 'progress[data-until]')) {
    const left = Math.max(0, Date.parse(bar.dataset.until) - now());
    bar.value = bar.max - left;
    const words = bar.parentElement.querySelector('[data-left]');
    const text = lasting(Math.ceil(left / 1000));
    if (words && words.textContent !== text) words.textContent = text;
    over ||= left === 0 && !bar.dataset.over;
    if (left === 0) bar.dataset.over = 'yes';
  }
  if (over) soon();
};

// --- Parts that change ------------------------------------------------------------------------------------------------

// Makes `old` what `fresh` is, and leaves alone what is the same: so that focus, selection, what has been typed and what
// has been opened stay.
const morph = (old, fresh) => {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const {name, value} of Array.from(fresh.attributes)) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const {name} of Array.from(old.attributes)) {
    const byViewer = name === 'open' && old.nodeName === 'DETAILS';
    if (!fresh.hasAttribute(name) && !byViewer) old.removeAttribute(name);
  }
  const known = new Map(Array.from(old.children, (child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of Array.from(fresh.childNodes)) {
    const named = child.id && known.get(child.id);
    const same = named || (at && !at.id && !child.id && at.nodeName === child.nodeName ? at : null);
    if (!same || same.nodeName !== child.nodeName) {
      old.insertBefore(child, at);
    } else {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      morph(same, child);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
};

const address = () => {
  const url = new URL(location.href);
  url.searchParams.delete('did');
  url.searchParams.delete('count');
  url.hash = '';
  return url;
};

let fetching = false;
let again = false;

const refresh = async () => {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const response = await fetch(address(), {credentials: 'same-origin', headers: {accept: 'text/html'}});
    if (response.redirected && new URL(response.url).pathname === '/login') {
      location.assign(response.url);
      return;
    }
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    readClock(page.documentElement);
    localise(page);
    for (const part of all(document, '[data-live-part]')) {
      const fresh = page.getElementById(part.id);
      if (fresh) morph(part, document.importNode(fresh, true));
    }
    document.title = page.title;
    countDown();
  } catch {
    // The stream notices too, and says so.
  } finally {
    fetching = false;
    if (again) {
      again = false;
      soon();
    }
  }
};

// Soon after the first of many events, and then not again for a while: a busy day must not make a busy page.
const PAUSE = 1500;
let waiting = 0;
let last = 0;
const soon = () => {
  waiting ||= setTimeout(() => {
    waiting = 0;
    last = Date.now();
    if (!document.hidden) refresh();
  }, Math.max(300, last + PAUSE - Date.now()));
};

// --- The stream -------------------------------------------------------------------------------------------------------

let stream = null;
let reopen = 0;

const mark = (on) => {
  const live = document.getElementById('live');
  live.hidden = false;
  live.classList.toggle('on', on);
  live.textContent = on ? 'Live' : 'Reconnecting…';
};

const close = () => {
  clearTimeout(reopen);
  stream?.close();
  stream = null;
};

const open = () => {
  close();
  stream = new EventSource('/api/events');
  stream.addEventListener('open', () => {
    mark(true);
    // What happened before the stream began.
    soon();
  });
  stream.addEventListener('sync', soon);
  stream.addEventListener('error', () => {
    mark(false);
    if (stream?.readyState !== EventSource.CLOSED) return;
    // Refused for good: the session may have ended, which the page tells.
    refresh();
    reopen = setTimeout(open, 5000);
  });
};

const live = () => {
  open();
  setInterval(countDown, 250);
  // What no event tells: how long something has waited, a service that is back.
  setInterval(soon, 15_000);
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      close();
    } else {
      open();
      refresh();
    }
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', (event) => {
    if (event.persisted) open();
  });
};

// --- Every page -------------------------------------------------------------------------------------------------------

readClock(document.documentElement);
localise(document);

// The note is shown once: loading the page again, or going back to it, is not doing it again.
if (location.search.includes('did=')) history.replaceState(null, '', address());

if (document.body.hasAttribute('data-live')) {
  countDown();
  live();
}

// A link on another site brings this page without the session's cookie, which a page of ours has.
const login = document.getElementById('login');
if (login) {
  fetch('/login/session', {credentials: 'same-origin'})
    .then((response) => response.json())
    .then((there) => {
      if (there) location.replace(login.dataset.next);
    })
    .catch(() => {});
}
