"use strict";

const element = document.getElementById("swagger-ui");

function cookie(name) {
  const pair = document.cookie.split("; ").find((text) => text.startsWith(`${name}=`));
  return pair && decodeURIComponent(pair.slice(name.length + 1));
}

SwaggerUIBundle({
  domNode: element,
  url: element.dataset.document,
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
  requestInterceptor(request) {
    // Projects that authenticate by session ask for Django's CSRF token.
    const token = cookie(element.dataset.csrfCookie);
    if (token && new URL(request.url, document.baseURI).origin === location.origin) {
      request.headers[element.dataset.csrfHeader] = token;
    }
    return request;
  },
});
