"use strict";
(() => {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const code = button.closest(".lines").querySelector("code");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch { // refused: selected, so that the reader's own keys can copy it
        window.getSelection().selectAllChildren(code);
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
})();
