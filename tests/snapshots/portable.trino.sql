WITH step_1 AS (
    SELECT
        source."user_id" AS key_0,
        source."as_of" AS key_1,
        IF(CAST(source."heat" AS DOUBLE) > -3.4028235677973366e+38 AND CAST(source."heat" AS DOUBLE) < 3.4028235677973366e+38, CAST(source."heat" AS DOUBLE), NULL) AS xgboost_x_0,
        IF(CAST(source."heat" AS DOUBLE) > -3.4028235677973366e+38 AND CAST(source."heat" AS DOUBLE) < 3.4028235677973366e+38, CAST(source."heat" AS DOUBLE), NULL) AS mlp_number_0_raw,
        IF(CAST(source."Spent in €" AS DOUBLE) > -3.4028235677973366e+38 AND CAST(source."Spent in €" AS DOUBLE) < 3.4028235677973366e+38, CAST(source."Spent in €" AS DOUBLE), NULL) AS mlp_number_1_raw,
        IF(CAST(CAST(source."is_member" AS INTEGER) AS DOUBLE) > -3.4028235677973366e+38 AND CAST(CAST(source."is_member" AS INTEGER) AS DOUBLE) < 3.4028235677973366e+38, CAST(CAST(source."is_member" AS INTEGER) AS DOUBLE), NULL) AS mlp_number_2_raw,
        IF(source."city" IS NULL, 0, COALESCE(CASE CAST(source."city" AS VARCHAR) WHEN 'Leeds' THEN 2 WHEN 'L''Île' THEN 3 WHEN '' THEN 4 WHEN 'a\b' THEN 5 WHEN 'two
lines' THEN 6 END, 1)) AS mlp_category_0_code
    FROM features AS source
),

step_2 AS (
    SELECT
        key_0,
        key_1,
        mlp_category_0_code,
        mlp_number_0_raw,
        CAST(IF(xgboost_x_0 < 2.9999998807907104e0, -2.0e0, 2.0e0) AS REAL) AS xgboost_tree_0,
        CAST(IF(xgboost_x_0 < 2.9999998807907104e0, -1.1353353e0, 1.1353353e0) AS REAL) AS xgboost_tree_1,
        IF(mlp_number_0_raw < 0.0e0, -1.0e0, 1.0e0) * LN(1.0e0 + ABS(mlp_number_0_raw)) AS mlp_number_0_log,
        IF(mlp_number_1_raw < 0.0e0, -1.0e0, 1.0e0) * LN(1.0e0 + ABS(mlp_number_1_raw)) AS mlp_number_1_log,
        IF(mlp_number_2_raw < 0.0e0, -1.0e0, 1.0e0) * LN(1.0e0 + ABS(mlp_number_2_raw)) AS mlp_number_2_log
    FROM step_1
),

step_3 AS (
    SELECT
        key_0,
        key_1,
        mlp_category_0_code,
        mlp_number_0_raw,
        CAST((CAST(-0.0e0 AS REAL) + xgboost_tree_0 + xgboost_tree_1) AS DOUBLE) AS xgboost_margin,
        (mlp_number_0_log - 0.5e0) * 2.0e0 AS mlp_number_0_scaled,
        (mlp_number_1_log - 0.5e0) * 2.0e0 AS mlp_number_1_scaled,
        (mlp_number_2_log - 0.5e0) * 2.0e0 AS mlp_number_2_scaled
    FROM step_2
),

step_4 AS (
    SELECT
        key_0,
        key_1,
        xgboost_margin,
        COALESCE(IF(mlp_number_0_scaled < -6.0e0, -6.0e0, IF(mlp_number_0_scaled > 6.0e0, 6.0e0, mlp_number_0_scaled)), 0.0e0) AS mlp_number_0,
        COALESCE(IF(mlp_number_1_scaled < -6.0e0, -6.0e0, IF(mlp_number_1_scaled > 6.0e0, 6.0e0, mlp_number_1_scaled)), 0.0e0) AS mlp_number_1,
        COALESCE(IF(mlp_number_2_scaled < -6.0e0, -6.0e0, IF(mlp_number_2_scaled > 6.0e0, 6.0e0, mlp_number_2_scaled)), 0.0e0) AS mlp_number_2,
        IF(mlp_number_0_raw IS NULL, 1.0e0, 0.0e0) AS mlp_number_0_missing,
        CAST(CASE mlp_category_0_code WHEN 0 THEN -0.25e0 WHEN 1 THEN 0.25e0 WHEN 2 THEN 0.125e0 WHEN 3 THEN 0.0e0 WHEN 4 THEN -0.125e0 WHEN 5 THEN -0.25e0 WHEN 6 THEN 0.25e0 END AS DOUBLE) AS mlp_category_0_0,
        CAST(CASE mlp_category_0_code WHEN 0 THEN -0.125e0 WHEN 1 THEN -0.25e0 WHEN 2 THEN 0.25e0 WHEN 3 THEN 0.125e0 WHEN 4 THEN 0.0e0 WHEN 5 THEN -0.125e0 WHEN 6 THEN -0.25e0 END AS DOUBLE) AS mlp_category_0_1,
        CAST(CASE mlp_category_0_code WHEN 0 THEN 0.0e0 WHEN 1 THEN -0.125e0 WHEN 2 THEN -0.25e0 WHEN 3 THEN 0.25e0 WHEN 4 THEN 0.125e0 WHEN 5 THEN 0.0e0 WHEN 6 THEN -0.125e0 END AS DOUBLE) AS mlp_category_0_2,
        CAST(CASE mlp_category_0_code WHEN 0 THEN 0.125e0 WHEN 1 THEN 0.0e0 WHEN 2 THEN -0.125e0 WHEN 3 THEN -0.25e0 WHEN 4 THEN 0.25e0 WHEN 5 THEN 0.125e0 WHEN 6 THEN 0.0e0 END AS DOUBLE) AS mlp_category_0_3
    FROM step_3
),

step_5 AS (
    SELECT
        key_0,
        key_1,
        xgboost_margin,
        -0.25e0 + mlp_number_0 * -0.25e0 + mlp_number_1 * 0.0e0 + mlp_number_2 * 0.25e0 + mlp_number_0_missing * -0.125e0 + mlp_category_0_0 * 0.125e0 + mlp_category_0_1 * -0.25e0 + mlp_category_0_2 * 0.0e0 + mlp_category_0_3 * 0.25e0 AS mlp_sum_0_0,
        -0.125e0 + mlp_number_0 * -0.125e0 + mlp_number_1 * 0.125e0 + mlp_number_2 * -0.25e0 + mlp_number_0_missing * 0.0e0 + mlp_category_0_0 * 0.25e0 + mlp_category_0_1 * -0.125e0 + mlp_category_0_2 * 0.125e0 + mlp_category_0_3 * -0.25e0 AS mlp_sum_0_1
    FROM step_4
),

step_6 AS (
    SELECT
        key_0,
        key_1,
        xgboost_margin,
        IF(mlp_sum_0_0 > 0.0e0, mlp_sum_0_0, 0.0e0) AS mlp_unit_0_0,
        IF(mlp_sum_0_1 > 0.0e0, mlp_sum_0_1, 0.0e0) AS mlp_unit_0_1
    FROM step_5
),

step_7 AS (
    SELECT
        key_0,
        key_1,
        xgboost_margin,
        -0.25e0 + mlp_unit_0_0 * -0.25e0 + mlp_unit_0_1 * -0.125e0 AS mlp_margin
    FROM step_6
),

step_8 AS (
    SELECT
        key_0,
        key_1,
        0.0e0 + xgboost_margin * 0.5e0 + mlp_margin * 0.5e0 AS margin
    FROM step_7
),

step_9 AS (
    SELECT
        key_0,
        key_1,
        -0.25e0 + 1.5e0 * (margin - 0.0e0) AS own_log_odds
    FROM step_8
),

step_10 AS (
    SELECT
        key_0,
        key_1,
        IF(own_log_odds < -15.0e0, -15.0e0, IF(own_log_odds > 15.0e0, 15.0e0, own_log_odds)) AS log_odds
    FROM step_9
),

step_11 AS (
    SELECT
        key_0,
        key_1,
        1.0e0 / (1.0e0 + EXP(-log_odds)) AS score
    FROM step_10
)

SELECT
    key_0 AS "user_id",
    key_1 AS "as_of",
    score AS "score"
FROM step_11
