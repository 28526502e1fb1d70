from processes import run_script


def test_every_generated_table_picture_and_header_is_up_to_date() -> None:
    result = run_script("scripts/write_tables.py", "--check")
    assert result.returncode == 0, result.stdout + result.stderr
