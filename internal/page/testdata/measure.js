// Looks for what is wrong with the page as the browser shows it.
"use strict";
addEventListener("load", () => {
  const errors = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) errors.push("the page is " + document.documentElement.scrollWidth + " wide on a screen of " + width);

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const colour = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const f = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = colour(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255];
  };
  const shown = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility !== "hidden";
  const called = (e) => e.tagName.toLowerCase() + " " + (e.textContent.trim().slice(0, 40) || e.className);

  let checked = 0;
  for (const e of document.body.querySelectorAll("*")) {
    const texts = [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (!texts.length || !shown(e) || e.closest("script, noscript, meter, .skip, pre")) continue;
    checked++;
    const [a, b] = [light(colour(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) errors.push("contrast " + contrast.toFixed(2) + " of " + called(e));
    if (e.closest("nav, .picture, thead, .tiles")) continue;
    const range = document.createRange();
    for (const t of texts) {
      range.selectNodeContents(t);
      const box = range.getBoundingClientRect();
      if (box.right > width + 1 || box.left < -1) errors.push("text leaves the screen: " + called(e));
    }
  }

  const tabs = [];
  for (const e of document.querySelectorAll("a[href], input, summary, button, [tabindex]")) {
    if (e.tabIndex < 0 || !shown(e)) continue;
    const image = e.querySelector("img");
    const name = e.getAttribute("aria-label") || e.textContent.trim() || (image && image.alt) || "";
    tabs.push(name);
    if (!name) errors.push("no name: " + e.outerHTML.slice(0, 80));
    e.focus({ preventScroll: true });
    if (document.activeElement !== e) errors.push("can't be focused: " + called(e));
    else if (getComputedStyle(e).outlineStyle === "none") errors.push("focus does not show: " + called(e));
  }
  const sections = [...document.querySelectorAll("section")].map((s) => {
    const title = document.getElementById(s.getAttribute("aria-labelledby"));
    if (!title) errors.push("a section has no title: " + s.id);
    return title ? title.textContent : "";
  });
  for (const a of document.querySelectorAll('a[href^="#"]')) if (!document.querySelector(a.getAttribute("href"))) errors.push("leads nowhere: " + a.href);
  for (const i of document.querySelectorAll("img")) {
    if (!i.hasAttribute("alt")) errors.push("an image has no alt: " + i.src);
    if (!i.complete || !i.naturalWidth) errors.push("an image is not shown: " + i.src);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) errors.push("two elements have one id: " + ids);
  if (new Set([...document.querySelectorAll("h1")]).size !== 1) errors.push("there is not one h1");

  const found = JSON.stringify({ Errors: errors, Checked: checked, Tabs: tabs, Sections: sections, Ground: getComputedStyle(document.body).backgroundColor });
  document.activeElement.blur();
  window.frameElement.dataset.measured = found;
});
