
document.addEventListener("keydown", function (event) {
  var typing = event.target.closest("textarea, input[type=text]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  var button = document.querySelector('button[data-key="' + Number(event.key) + '"]');
  if (button) { event.preventDefault(); button.click(); }
});
