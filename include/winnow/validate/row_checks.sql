-- What each row must hold to, beyond what one column tells: of every check its name, its severity and
-- its table in one line, and then the SQL for id and detail of each row that breaks it. They read the
-- tables and views of `winnow.validate.tables`. Texts are not joined but what is made of them: a batch's
-- would not fit into memory.

-- annotation_conflicts: block, annotations
SELECT annotation_id, 'revision ' || revision || ' is told in ' || count(*) || ' ways'
FROM (SELECT DISTINCT annotation_id, revision, task_id, annotator, choice, swapped, status
      FROM annotations)
GROUP BY annotation_id, revision HAVING count(*) > 1 ORDER BY 1

-- task_was_asked: block, annotations
SELECT annotation_id, 'no task ' || task_id FROM latest
WHERE task_id NOT IN (SELECT task_id FROM tasks WHERE task_id IS NOT NULL) ORDER BY 1

-- annotation_is_of_its_task: block, annotations
SELECT annotation_id, 'says pair ' || l.pair_id || ', ' || l.kind || '; its task is of '
    || t.pair_id || ', ' || t.kind
FROM latest AS l JOIN tasks AS t USING (task_id)
WHERE l.pair_id <> t.pair_id
    OR (l.kind <> t.kind AND NOT (l.kind = 'repeat' AND t.kind = 'comparison'))
ORDER BY 1

-- sides_as_asked: block, annotations
SELECT annotation_id, 'swapped differs from its task''s' FROM latest JOIN tasks
USING (task_id) WHERE latest.swapped <> tasks.swapped ORDER BY 1

-- preferred_as_chosen: block, annotations
SELECT annotation_id, 'chose ' || choice || CASE WHEN swapped THEN ', swapped' ELSE '' END
    || ', but preferred is ' || coalesce(preferred, 'null')
FROM latest
WHERE choice IN ('a', 'b', 'tie', 'both_bad', 'skip') AND preferred IS DISTINCT FROM CASE
    WHEN choice = 'skip' THEN NULL
    WHEN choice IN ('tie', 'both_bad') THEN choice
    WHEN (choice = 'a') = swapped THEN 'second' ELSE 'first' END
ORDER BY 1

-- task_answered_once: block, annotations
SELECT unnest(list(annotation_id ORDER BY annotation_id)),
    annotator || ' answers task ' || task_id || ' ' || count(*) || ' times'
FROM standing GROUP BY task_id, annotator HAVING count(*) > 1 ORDER BY 1

-- annotator_votes_once: block, annotations
SELECT unnest(list(annotation_id ORDER BY annotation_id)),
    annotator || ' votes ' || count(*) || ' times on pair ' || pair_id
FROM (FROM votes UNION ALL FROM verdicts) GROUP BY pair_id, annotator HAVING count(*) > 1
ORDER BY 1

-- scores_in_range: block, annotations
SELECT annotation_id, 'strength must be 0 to 3 and ratings 1 to 5' FROM latest
WHERE strength NOT BETWEEN 0 AND 3
    OR len(list_filter(ratings, lambda r: r.first NOT BETWEEN 1 AND 5
                                       OR r.second NOT BETWEEN 1 AND 5)) > 0
ORDER BY 1

-- times_in_order: warn, annotations
SELECT annotation_id, 'finished at ' || finished_at || ', before it was started' FROM latest
WHERE finished_at < started_at ORDER BY 1

-- price_as_agreed: warn, annotations
SELECT annotation_id, 'costs ' || latest.price || ' micro-dollars, agreed were '
    || tasks.price
FROM latest JOIN tasks USING (task_id)
WHERE latest.price > tasks.price OR latest.price < 0 ORDER BY 1

-- task_is_of_a_comparison: block, tasks
SELECT task_id, 'no comparison ' || pair_id FROM tasks
WHERE kind <> 'gold'
    AND pair_id NOT IN (SELECT pair_id FROM comparisons WHERE pair_id IS NOT NULL)
ORDER BY 1

-- task_shows_its_pair: block, tasks
SELECT task_id, 'sides shown are not the pair''s, in the order that swapped says'
FROM tasks JOIN comparisons USING (pair_id)
WHERE tasks.kind <> 'gold'
    AND (shown_a <> CASE WHEN swapped THEN second_id ELSE first_id END
      OR shown_b <> CASE WHEN swapped THEN first_id ELSE second_id END)
ORDER BY 1

-- repeat_swaps_sides: block, tasks
SELECT again.task_id, 'shows the sides as the first task of its pair did'
FROM tasks AS again JOIN tasks AS before USING (pair_id)
WHERE again.kind = 'repeat' AND before.kind = 'comparison' AND before.repetition = 0
    AND again.swapped = before.swapped
ORDER BY 1

-- gold_has_an_answer: block, tasks
SELECT task_id, 'the known answer is ' || coalesce(expected, 'null') FROM tasks
WHERE kind = 'gold' AND coalesce(expected, '') NOT IN ('first', 'second', 'tie')
ORDER BY 1

-- comparison_of_known_responses: block, comparisons
SELECT pair_id, 'no response ' || wanted
FROM (SELECT pair_id, unnest([first_id, second_id]) AS wanted FROM comparisons)
WHERE wanted NOT IN (SELECT response_id FROM responses WHERE response_id IS NOT NULL)
ORDER BY 1

-- comparison_of_a_known_prompt: block, comparisons
SELECT pair_id, 'no prompt ' || prompt_id FROM comparisons
WHERE prompt_id NOT IN (SELECT prompt_id FROM prompts WHERE prompt_id IS NOT NULL)
ORDER BY 1

-- responses_answer_its_prompt: block, comparisons
SELECT DISTINCT pair_id, 'a response answers another prompt'
FROM (SELECT pair_id, prompt_id AS asked, unnest([first_id, second_id]) AS response_id
      FROM comparisons) JOIN responses USING (response_id)
WHERE prompt_id <> asked ORDER BY 1

-- sides_differ: block, comparisons
WITH texts AS (SELECT response_id, md5_number(message) AS said FROM responses)
SELECT DISTINCT c.pair_id, 'both sides are one response' FROM comparisons AS c
LEFT JOIN texts AS one ON one.response_id = c.first_id
LEFT JOIN texts AS other ON other.response_id = c.second_id
WHERE c.first_id = c.second_id OR one.said = other.said ORDER BY 1

-- pair_id_is_its_responses: block, comparisons
SELECT pair_id, 'is not the id of its two responses; rows may have shifted'
FROM comparisons WHERE pair_id <> substr(sha256('["pair",["' || least(first_id, second_id)
    || '","' || greatest(first_id, second_id) || '"]]'), 1, 32)
ORDER BY 1

-- propensity_is_a_chance: block, comparisons
SELECT pair_id, 'propensity ' || propensity || ' is not in (0, 1]' FROM comparisons
WHERE NOT (propensity > 0 AND propensity <= 1) ORDER BY 1

-- preference_of_a_comparison: block, preferences
SELECT p.pair_id, 'no such comparison, or of other responses' FROM preferences AS p
LEFT JOIN comparisons AS c USING (pair_id)
WHERE (c.prompt_id, c.first_id, c.second_id)
    IS DISTINCT FROM (p.prompt_id, p.first_id, p.second_id)
ORDER BY 1

-- preference_has_a_vote: block, preferences
SELECT pair_id, 'prefers the ' || p.preferred || ', which no vote names'
FROM preferences AS p
WHERE p.preferred IN ('first', 'second') AND NOT EXISTS
    (FROM votes AS v WHERE v.pair_id = p.pair_id AND v.preferred = p.preferred)
    -- Where models alone judged, the mean of what they said decides.
    AND (p.pair_id IN (SELECT pair_id FROM votes)
        OR p.pair_id NOT IN (SELECT pair_id FROM verdicts))
ORDER BY 1

-- votes_add_up: block, preferences
SELECT p.pair_id, 'says ' || p.votes || ' votes, there are ' || coalesce(n, 0)
FROM preferences AS p LEFT JOIN
    (SELECT pair_id, count(*) AS n FROM votes GROUP BY pair_id) USING (pair_id)
WHERE p.votes <> coalesce(n, 0) ORDER BY 1

-- agreement_adds_up: block, preferences
SELECT p.pair_id, 'says agreement ' || coalesce(p.agreement::VARCHAR, 'null')
FROM preferences AS p JOIN (
    SELECT pair_id, sum(n) AS n, max(n) AS most FROM (
        SELECT pair_id, count(*) AS n FROM votes
        GROUP BY pair_id, replace(preferred, 'both_bad', 'tie'))
    GROUP BY pair_id
) USING (pair_id)
WHERE abs(coalesce(p.agreement, -1) - CASE WHEN n > 1 THEN most / n ELSE -1 END) > 1e-9
ORDER BY 1

-- cost_adds_up: block, preferences
SELECT p.pair_id, 'costs ' || p.cost || ' micro-dollars, its annotations '
    || coalesce(paid, 0)
FROM preferences AS p LEFT JOIN
    (SELECT pair_id, sum(price) AS paid FROM latest WHERE kind = 'comparison'
     GROUP BY pair_id) USING (pair_id)
WHERE p.cost <> coalesce(paid, 0) ORDER BY 1

-- no_vote_is_lost: block, comparisons
SELECT DISTINCT pair_id, 'has votes and no preference' FROM (FROM votes UNION ALL FROM verdicts)
WHERE pair_id NOT IN (SELECT pair_id FROM preferences WHERE pair_id IS NOT NULL)
ORDER BY 1
