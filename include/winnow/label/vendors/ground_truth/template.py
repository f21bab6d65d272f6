"""The page that a Ground Truth worker sees: a Crowd HTML form with Liquid.

Everything from a task goes through `escape` into a block that keeps its line ends, so that it is
shown and never run (https://docs.aws.amazon.com/sagemaker/latest/dg/sms-custom-templates-step2.html
and its page on Liquid). `task.input` is a line of the manifest.
"""

from __future__ import annotations

from winnow.label.vendor import Choice

LABELS: dict[Choice, str] = {
    "a": "A is better",
    "b": "B is better",
    "tie": "Equally good",
    "both_bad": "Both are bad",
    "skip": "I cannot judge this",
}


def worker_template() -> str:
    """The template, in Liquid."""
    choices = "\n".join(
        f'    <p><label><input type="radio" name="choice" value="{value}" required> {label}'
        "</label></p>"
        for value, label in LABELS.items()
    )
    return _PAGE.replace("CHOICES", choices)


_PAGE = """<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>
<style>
  .text { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #ccc; padding: 8px; }
  .sides { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; }
</style>
<crowd-form>
  <p class="text">{{ task.input.instructions | escape }}</p>
  {% for message in task.input.messages %}
  <h4>{{ message.role | escape }}</h4>
  <p class="text">{{ message.content | escape }}</p>
  {% endfor %}
  <div class="sides">
    <div><h4>Response A</h4><p class="text">{{ task.input.response_a | escape }}</p></div>
    <div><h4>Response B</h4><p class="text">{{ task.input.response_b | escape }}</p></div>
  </div>
  <fieldset>
    <legend>Which response is better?</legend>
CHOICES
  </fieldset>
  {% assign sides = "a,b" | split: "," %}
  {% assign grades = "1,2,3,4,5" | split: "," %}
  {% for dimension in task.input.dimensions %}
  {% for side in sides %}
  <fieldset>
    <legend>{{ dimension | escape }} of response {{ side | upcase }}, 1 (worst) to 5</legend>
    {% for grade in grades %}
    <label><input type="radio" name="rating/{{ side }}/{{ dimension | escape }}"
      value="{{ grade }}"> {{ grade }}</label>
    {% endfor %}
  </fieldset>
  {% endfor %}
  {% endfor %}
  <p>Why? (optional)</p>
  <textarea name="rationale" rows="3" cols="80" maxlength="5000"></textarea>
</crowd-form>
"""
