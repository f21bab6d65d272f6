-- Which rows of a batch are set aside: see `winnow.validate.aside`.

-- broken: the rows behind a verdict that have to go
-- The table stands before the colon of a detail: see `BadRow.quarantined`.
CREATE TEMP TABLE broken AS
SELECT DISTINCT reason AS "check", split_part(detail, ': ', 1) AS place, record_id AS row_id
FROM given_broken WHERE reason IN (SELECT unnest($names::VARCHAR[])) AND place <> $no_table

-- pairs: the pairs that go, each for one check
CREATE TEMP TABLE aside AS
SELECT pair_id, min("check") AS "check" FROM (
    SELECT pair_id, "check" FROM broken JOIN comparisons ON prompt_id = row_id
        WHERE place = 'prompts'
    UNION ALL SELECT pair_id, "check"
        FROM broken JOIN comparisons ON row_id IN (first_id, second_id) WHERE place = 'responses'
    UNION ALL SELECT row_id, "check" FROM broken WHERE place IN ('comparisons', 'preferences')
    UNION ALL SELECT pair_id, "check"
        FROM broken JOIN tasks ON task_id IS NULL OR task_id = row_id WHERE place = 'tasks'
    UNION ALL SELECT unnest([annotations.pair_id, tasks.pair_id]), "check"
        FROM broken JOIN annotations ON annotation_id IS NULL OR annotation_id = row_id
        LEFT JOIN tasks USING (task_id) WHERE place = 'annotations'
) WHERE pair_id IS NOT NULL GROUP BY pair_id

-- go_along: annotations and preferences of those pairs
SELECT $stage AS stage, "check" AS reason, kind || ': set aside with pair ' || pair_id AS detail,
    NULL::VARCHAR AS file, NULL::BIGINT AS line, id AS record_id, NULL::BLOB AS raw
FROM (
    SELECT DISTINCT 'annotations' AS kind, annotation_id AS id, pair_id FROM annotations
    UNION ALL SELECT 'preferences', pair_id, pair_id FROM preferences
) AS rows JOIN aside USING (pair_id)
WHERE NOT EXISTS (FROM broken WHERE place = rows.kind AND row_id = rows.id)
ORDER BY reason, detail, record_id
