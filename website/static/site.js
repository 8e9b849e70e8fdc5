// What scrolls sideways is to be reachable by keyboard, at any width of the window.
const scrollable = "pre, .table-wrapper, .cell_output .output, mjx-container";

function letKeyboardScroll() {
  for (const part of document.querySelectorAll(scrollable)) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
}

addEventListener("load", letKeyboardScroll);
addEventListener("resize", letKeyboardScroll);
