-- Figures of the quality report: see `winnow.publish.report.figures`.

-- longer: of decided pairs whose lengths differ, in how many the longer one was chosen
WITH texts AS (SELECT response_id, length(message) AS n FROM responses)
SELECT count(*) AS n, count(*) FILTER ((first > second) = (preferred = 'first')) AS hits FROM (
    SELECT one.n AS first, other.n AS second, preferred
    FROM preferences JOIN texts AS one ON one.response_id = first_id
    JOIN texts AS other ON other.response_id = second_id
    WHERE preferred IN ('first', 'second')
)
WHERE first <> second

-- clearest: the clearest pairs of a kind
SELECT p.*, p_first FROM preferences AS p JOIN comparisons USING (pair_id)
WHERE {among} ORDER BY {worth} DESC, pair_id LIMIT {n}

-- example: the texts of a pair
SELECT messages[-1].content AS prompt, len(messages) AS turns, one.message AS first,
    other.message AS second
FROM prompts, responses AS one, responses AS other
WHERE prompts.prompt_id = $prompt AND one.response_id = $first AND other.response_id = $second
