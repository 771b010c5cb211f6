// Requests to the server. The token leaves the address at once and is sent in a header, which no other site can set.
const select = (selector, inside = document) => inside.querySelector(selector);
const selectAll = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const count = (number) => Number(number).toLocaleString("en");
const images = (number) => `${count(number)} ${number === 1 ? "image" : "images"}`;

const withStorage = (storage, action) => { try { return action(window[storage]); } catch { return null; } };
const token = (() => {
  const given = new URLSearchParams(location.search).get("token");
  if (given) {
    withStorage("sessionStorage", (storage) => storage.setItem("headclust-token", given));
    history.replaceState(null, "", location.pathname + location.hash);
    return given;
  }
  return withStorage("sessionStorage", (storage) => storage.getItem("headclust-token")) || "";
})();

class ServerError extends Error {}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "X-Headclust-Token": token, ...options.headers }, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    banner("The review has ended, or cannot be reached. Every change so far is in fixes.csv. Start headclust review again, and open the new address.");
    throw new ServerError("the review cannot be reached.");
  }
  if (response.status === 403) {
    banner("Open the address that headclust review has printed: this tab has no token, or that of an earlier review.");
    throw new ServerError("the token is missing or wrong.");
  }
  const value = await response.json().catch(() => ({ error: `the review failed (${response.status}): see its terminal.` }));
  if (!response.ok) throw new ServerError(value.error || `the review failed (${response.status}).`);
  banner("");
  return value;
}

const read = (name, values = {}, options = {}) => {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
  return request(`/data/${name}?${query}`, options);
};
const change = (name, values = {}) => request(`/change/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(values) });

function banner(text) {
  const place = select("#banner");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}
