document.addEventListener("keydown", function (event) {
  var typing = event.target.closest("textarea, input[type=text]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  var key = event.key.toLowerCase();
  document.querySelectorAll("button[data-key]").forEach(function (button) {
    if (button.dataset.key === key) { event.preventDefault(); button.click(); }
  });
});
