"use strict";
// The list of sections marks the one that is being read: the last that has come up to a fifth of the window's height,
// the first one above that, and the last one where the page ends.
(() => {
  const links = [...document.querySelectorAll("nav a")];
  const sections = links.map((link) => document.getElementById(link.hash.slice(1)));
  const mark = () => {
    const passed = sections.filter((section) => section.getBoundingClientRect().top <= window.innerHeight / 5).length;
    const left = document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
    const current = window.scrollY > 0 && left < 2 ? sections.length - 1 : Math.max(0, passed - 1);
    links.forEach((link, i) => (i === current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
  };
  window.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(document.body); // figures that are drawn move what is below them
})();
