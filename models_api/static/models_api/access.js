"use strict";

// Projects may let not everybody read the document that these pages show. This script comes before
// all others, so that they fetch by what is here: with the token that was given, and where the
// document is refused the page says why, and what can be done about it.
const AUTHORIZATION = "models_api.authorization";
const access = document.getElementById("access");
const shown = document.querySelector("[data-document]");
const documentURL = new URL(shown.dataset.document, document.baseURI).href;
const plainFetch = window.fetch.bind(window);

window.fetch = async (resource, options) => {
  const request = new Request(resource, options);
  const authorization = sessionStorage.getItem(AUTHORIZATION);
  const isOwn = new URL(request.url).origin === location.origin;
  if (authorization && isOwn && !request.headers.has("Authorization")) {
    request.headers.set("Authorization", authorization);
  }
  const response = await plainFetch(request);
  if (!response.ok && request.url === documentURL) {
    showRefusal(response);
    // What would show the document waits for ever, rather than show a failure of its own.
    return new Promise(() => {});
  }
  return response;
};

function add(parent, name, text, attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  Object.assign(element, attributes);
  parent.append(element);
  return element;
}

async function showRefusal(response) {
  const body = await response.json().catch(() => ({}));
  const isAboutAccess = response.status === 401 || response.status === 403;
  const [scheme] = (response.headers.get("WWW-Authenticate") ?? "").split(/[\s,]/);
  access.replaceChildren();
  add(access, "h1", isAboutAccess ? "This page is not for everybody" : "There is nothing to show yet");
  for (const text of body.messages ?? [`The service answered ${response.status}.`]) {
    add(access, "p", text);
  }
  if (isAboutAccess && sessionStorage.getItem(AUTHORIZATION)) {
    sessionStorage.removeItem(AUTHORIZATION);
    add(access, "p", "That is the answer to the token that you gave; it is forgotten.");
  }
  if (isAboutAccess && access.dataset.loginUrl) {
    add(add(access, "p", ""), "a", "Log in", { href: access.dataset.loginUrl });
  }
  if (isAboutAccess && scheme.toLowerCase() !== "basic") {
    askForToken(scheme);
  } else {
    add(access, "button", "Try again", { onclick: () => location.reload() });
  }
  shown.hidden = true;
  access.hidden = false;
}

function askForToken(scheme) {
  const form = add(access, "form", "");
  const hint = scheme ? "Token" : "Token, with the word before it, such as Token 0123abc";
  const label = add(form, "label", hint);
  const input = add(label, "input", "", {
    type: "password",
    name: "token",
    autocomplete: "off",
    required: true,
    pattern: "[ -~]+",
  });
  add(form, "button", "Show the page");
  add(form, "p", "It is kept until you close this tab, and sent to this service alone.");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = input.value.trim();
    const isWhole = !scheme || given.includes(" ");
    sessionStorage.setItem(AUTHORIZATION, isWhole ? given : `${scheme} ${given}`);
    location.reload();
  });
}

// A link sends no token.
async function save(event) {
  event.preventDefault();
  const response = await fetch(event.target.href);
  const href = URL.createObjectURL(await response.blob());
  add(access, "a", "", { href, download: "openapi.yaml" }).click();
  URL.revokeObjectURL(href);
}

if (sessionStorage.getItem(AUTHORIZATION)) {
  const forget = () => {
    sessionStorage.removeItem(AUTHORIZATION);
    location.reload();
  };
  add(document.querySelector(".links"), "button", "Forget the token", { onclick: forget });
  for (const link of document.querySelectorAll('a[href="openapi.yaml"]')) {
    link.addEventListener("click", save);
  }
}
