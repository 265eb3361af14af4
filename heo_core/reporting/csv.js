"use strict";
// A table of values as a file that a spreadsheet and a program can read.
const csv = (() => {
  // A spreadsheet would take a text that begins so for a formula; an apostrophe keeps it a text. Numbers are no texts.
  const dangerous = /^[\s]*[=+\-@\u{FF1D}\u{FF0B}\u{FF0D}\u{FF20}]|^[\t\r\n]/u;

  const quote = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    if (typeof value === "number") return String(value);
    const text = dangerous.test(value) ? "'" + value : value;
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };

  const save = (name, rows) => {
    const text = rows.map((row) => row.map(quote).join(",")).join("\r\n") + "\r\n";
    // The mark at the start tells spreadsheets that Å is UTF-8.
    const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: name + ".csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  };

  const makeButton = (text, label, act) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text, title: label });
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  };

  const makeTools = (...buttons) => {
    const tools = Object.assign(document.createElement("p"), { className: "tools" });
    tools.append(...buttons);
    return tools;
  };

  return { save, makeButton, makeTools };
})();
