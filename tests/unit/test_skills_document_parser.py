"""documentParser: what stands in a document comes out of it, and a document made to hurt is refused."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.skills.base import LimitExceeded, SkillContext, SkillError, SkillRefused, dump
from agents.skills.document_parser import DocumentParser, DocumentParserInput, DocumentParserOutput
from agents.skills.document_parser.delimited import find_delimiter
from agents.skills.document_parser.parsing import Format, Options, parse_document
from tests.pdf import LOCKED, draw, make_pdf, rule_table, write

EXAMPLES = Path(__file__).parents[2] / "examples"


def parse(content: str | None = None, **arguments: Any) -> DocumentParserOutput:
    context = SkillContext(workspace=EXAMPLES, task_id="t", timeout_seconds=20, read_scopes=("",))
    body = {"content": content, **arguments} if content is not None else arguments
    return DocumentParser().run(DocumentParserInput.model_validate(body), context)


def blocks(output: DocumentParserOutput) -> list[tuple[str, str]]:
    return [(block.type.value, block.content) for block in output.blocks]


def entities(output: DocumentParserOutput) -> list[tuple[str, str]]:
    return [(entity.type.value, entity.value) for entity in output.entities]


class TestExamples:
    def test_it_reads_the_csv(self) -> None:
        output = parse(filePath="invoices.csv", format="csv")
        table = output.tables[0]
        assert table.headers[:3] == ["invoice", "customer", "contact"]
        assert len(table.rows) == 14
        assert table.rows[0][1] == "Hartmann, Voss & Co. KG"
        assert table.rows[1][8] == 'Ask for "PO 7731" on the\nremittance advice'
        assert ("money", "4.318,50 €") in entities(output)
        assert ("date", "3/2/2026") in entities(output)

    def test_it_reads_the_page(self) -> None:
        output = parse(filePath="price-list.html", format="html")
        assert [table.headers[0] for table in output.tables] == ["Article", "Part"]
        assert output.tables[0].rows[3] == ["KD-1500", "1.5 kW", "$1,890.00"]
        assert ("heading", "Spare parts") in blocks(output)
        assert "- Discounts:\n  - 5 % from 10 drives" in "\n".join(block.content for block in output.blocks)
        assert not any("not part of the text" in block.content for block in output.blocks)
        assert ("email", "sales@kestrel.example") in entities(output)

    def test_it_reads_the_pdf(self) -> None:
        output = parse(filePath="inspection-report.pdf", format="pdf")
        assert {block.page for block in output.blocks} == {1, 2}
        assert ("heading", "Next steps") in blocks(output)
        assert [(table.page, len(table.rows)) for table in output.tables] == [(1, 3), (2, 3)]
        assert output.tables[1].rows[2] == ["Sum", "3", "-", "$412.80"]
        assert ("date", "March 18, 2026") in entities(output)

    def test_it_reads_the_json_with_numbers_as_written(self) -> None:
        output = parse(filePath="stock.json", format="json")
        assert ("paragraph", "warehouse: Bremen 2") in blocks(output)
        assert output.tables[0].rows[3] == ["KD-1500", "3", "3", "1012.0", '{"aisle": "C", "bin": 1}']

    def test_it_reads_the_markdown(self) -> None:
        output = parse(filePath="meeting-notes.md", format="markdown")
        assert blocks(output)[0] == ("heading", "Supplier review, 2026-03-18")
        assert output.tables[0].headers == ["Topic", "Decision", "Owner", "Due"]
        assert any(
            content.startswith("- Two of five deliveries were late.\n  - Fjord") for _, content in blocks(output)
        )

    def test_a_child_process_reads_the_same(self) -> None:
        """PDF and Markdown always run in one; the others only when they are large."""
        from agents.skills.document_parser.confined import parse_confined

        for name, format_ in (
            ("invoices.csv", Format.CSV),
            ("price-list.html", Format.HTML),
            ("stock.json", Format.JSON),
        ):
            data, options = (EXAMPLES / name).read_bytes(), Options(format=format_)
            assert parse_confined(data, options, timeout_seconds=20) == parse_document(data, options)


class TestOptions:
    def test_it_leaves_out_what_is_not_wanted(self) -> None:
        output = parse("a,b\n1,2026-01-01\n", format="csv", extractTables=False, extractEntities=False)
        assert (output.tables, output.entities) == ([], [])
        assert blocks(output) == [("table", "a | b\n1 | 2026-01-01")]

    @pytest.mark.parametrize(
        "body",
        [
            {"format": "csv"},
            {"format": "csv", "content": "a", "filePath": "a.csv"},
            {"format": "xml", "content": "<a/>"},
            {"content": "a"},
            {"format": "csv", "content": 5},
            {"format": "csv", "content": "\ud800"},
            {"format": "csv", "content": "a", "extractTables": "yes"},
            {"format": "csv", "content": "a", "actAsAgent": "x"},
        ],
    )
    def test_it_refuses_input_of_another_shape(self, body: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            DocumentParserInput.model_validate(body)

    def test_inline_content_touches_no_path(self) -> None:
        arguments = DocumentParserInput.model_validate({"format": "csv", "content": "a"})
        resource = DocumentParser().resource(arguments, EXAMPLES)
        assert resource.read_paths == ()
        assert resource.arguments == {"format": "csv", "extractTables": True, "extractEntities": True}

    def test_a_file_is_what_the_gate_is_told(self) -> None:
        arguments = DocumentParserInput.model_validate({"format": "csv", "filePath": "./invoices.csv"})
        assert DocumentParser().resource(arguments, EXAMPLES).read_paths == ("invoices.csv",)

    def test_it_reads_only_where_it_may(self) -> None:
        context = SkillContext(workspace=EXAMPLES, task_id="t", timeout_seconds=5, read_scopes=("project",))
        arguments = DocumentParserInput.model_validate({"format": "csv", "filePath": "invoices.csv"})
        with pytest.raises(SkillRefused) as refused:
            DocumentParser().run(arguments, context)
        assert refused.value.code == "read_path"

    def test_it_says_when_there_is_no_such_file(self) -> None:
        with pytest.raises(SkillError) as failed:
            parse(filePath="nothing.csv", format="csv")
        assert failed.value.code == "file_not_found"


class TestCsv:
    @pytest.mark.parametrize(
        ("text", "delimiter"),
        [
            ("a,b\n1,2\n", ","),
            ("a;b\n1,5;2\n", ";"),
            ("a\tb\n1\t2\n", "\t"),
            ("a|b|c\n1,0|2|3\n", "|"),
            ('"a;b",c\n"1;2",3\n', ","),
            ("single\nvalue\n", ","),
            ("", ","),
        ],
    )
    def test_it_finds_the_delimiter(self, text: str, delimiter: str) -> None:
        assert find_delimiter(text) == delimiter

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    def test_it_reads_usual_encodings(self, encoding: str) -> None:
        parsed = parse_document("name,sum\nZoë,5 €\n".encode(encoding), Options(format=Format.CSV))
        assert parsed["tables"][0]["headers"] == ["name", "sum"]
        assert parsed["tables"][0]["rows"] == [["Zoë", "5 €"]]

    @pytest.mark.parametrize("text", ['a,b\n"open', 'a,b\n"x"y,1\n'])
    def test_it_says_where_quotes_are_wrong(self, text: str) -> None:
        with pytest.raises(SkillError, match="line 2") as failed:
            parse(text, format="csv")
        assert failed.value.code == "document_invalid"

    @pytest.mark.parametrize(
        ("text", "limit"),
        [
            ("a\n" + "1\n" * 100_001, "rows"),
            ("a," * 1_000 + "a\n", "columns"),
            ('"' + "x" * 131_073 + '"\n', "cell"),
            (("1," * 999 + "1\n") * 1_002, "cells"),
        ],
    )
    def test_it_has_bounds(self, text: str, limit: str) -> None:
        with pytest.raises(LimitExceeded) as reached:
            parse_document(text.encode(), Options(format=Format.CSV))
        assert reached.value.limit == limit

    @given(
        st.lists(
            st.lists(
                st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6), min_size=2, max_size=2
            ),
            min_size=1,
            max_size=5,
        )
    )
    def test_what_csv_writes_it_reads(self, rows: list[list[str]]) -> None:
        import csv

        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([["a", "b"], *rows])
        parsed = parse_document(file.getvalue().encode(), Options(format=Format.CSV, entities=False))
        assert parsed["tables"][0]["rows"] == [row for row in rows if any(cell.strip() for cell in row)]


class TestJson:
    @pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a": NaN}', "[Infinity]", '{"a": 1, "a": 2}', "'a'", "[1] 2"])
    def test_it_refuses_what_is_not_json(self, text: str) -> None:
        with pytest.raises(SkillError) as failed:
            parse(text, format="json")
        assert failed.value.code == "document_invalid"

    @pytest.mark.parametrize(
        "text", ["[" * 100_000, "[" * 102 + "]" * 102, '{"a":' * 101 + "1" + "}" * 101, '[{"a":' * 60 + "1" + "}]" * 60]
    )
    def test_it_refuses_depth(self, text: str) -> None:
        with pytest.raises(LimitExceeded) as reached:
            parse(text, format="json")
        assert reached.value.limit == "depth"

    def test_it_keeps_every_digit(self) -> None:
        output = parse('{"n": [1.10, 123456789012345678901234567890, 1e400]}', format="json")
        assert blocks(output) == [("list", "n:\n- 1.10\n- 123456789012345678901234567890\n- 1e400")]

    def test_its_output_can_be_stored(self) -> None:
        output = parse('{"a": "\\ud800\\u0000x", "t": [{"\\udfff": "\\ud83d\\ude00"}]}', format="json")
        assert json.dumps(dump(output), ensure_ascii=False).encode()
        assert blocks(output)[0] == ("paragraph", "a: \ufffd\ufffdx")
        assert output.tables[0].rows == [["😀"]]

    def test_many_names_are_no_trouble(self) -> None:
        names = ",".join(f'"{number}":0' for number in range(18_000))
        with pytest.raises(SkillError, match="'5' occurs twice"):
            parse(f'{{{names},"5":1}}', format="json")


class TestHtml:
    def test_it_lays_out_cells_over_rows_and_columns(self) -> None:
        page = "<table><tr><th>a<th>b<th>c<tr><td rowspan=2>1<td colspan=2>2<tr><td>3<td>4<tr><td colspan=x>5</table>"
        table = parse(page, format="html").tables[0]
        assert table.headers == ["a", "b", "c"]
        assert table.rows == [["1", "2", ""], ["", "3", "4"], ["5"]]

    def test_it_reads_a_table_in_a_table_once(self) -> None:
        page = "<table><tr><td>out<table><tr><td>in</table></table>"
        output = parse(page, format="html")
        assert [table.rows for table in output.tables] == [[["out in"]]]

    def test_it_reads_text_outside_of_blocks_in_order(self) -> None:
        page = "before<p>one<p>two<div>three<br>four</div>after<script>x</script> all<!-- no -->"
        contents = [content for _, content in blocks(parse(page, format="html"))]
        assert contents == ["before", "one", "two", "three four", "after all"]

    @pytest.mark.parametrize(
        ("page", "limit"),
        [
            ("<div>" * 300, "depth"),
            ("<b>" * 100_000, "depth"),
            ("<p>a" * 20_001, "blocks"),
            ("<br>" * 300_001, "tags"),
            ("<table><tr>" + "<td>x" * 1_001, "columns"),
            ("<table>" + "<tr><td colspan=1000>x" * 1_001, "cells"),
            ("<table><tr><td>x</table>" * 2_001, "tables"),
        ],
    )
    def test_it_has_bounds(self, page: str, limit: str) -> None:
        with pytest.raises(LimitExceeded) as reached:
            parse_document(page.encode(), Options(format=Format.HTML))
        assert reached.value.limit == limit

    @pytest.mark.parametrize("page", ["", " ", "<!-- -->", "\x00", "<?xml version='1.0'?>"])
    def test_an_empty_page_has_nothing(self, page: str) -> None:
        assert [content for _, content in blocks(parse(page, format="html")) if content != "\ufffd"] == []

    def test_entities_of_xml_are_not_expanded(self) -> None:
        page = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd"><!ENTITY l "lol">]><p>&e;&l;end</p>'
        assert "root:" not in str(dump(parse(page, format="html")))


class TestPdf:
    def read(self, *pages: list[str], **options: Any) -> dict[str, Any]:
        return parse_document(make_pdf(*pages), Options(format=Format.PDF, entities=False, **options))

    def contents(self, *pages: list[str], **options: Any) -> list[tuple[str, str]]:
        return [(block["type"].value, block["content"]) for block in self.read(*pages, **options)["blocks"]]

    def test_it_takes_base64(self) -> None:
        assert parse(base64.b64encode(make_pdf([])).decode(), format="pdf").blocks == []

    def test_headings_are_larger_or_bold(self) -> None:
        page = [
            write(72, 800, "A report in", size=18),
            write(72, 780, "two lines", size=18),
            write(72, 750, "A short line"),
            write(72, 738, "and one that goes on."),
            write(72, 726, "Bold", bold=True),
            write(72, 714, "1. one"),
            write(72, 702, "and more"),
            write(72, 690, "2. two"),
        ]
        assert self.contents(page) == [
            ("heading", "A report in two lines"),
            ("paragraph", "A short line and one that goes on."),
            ("heading", "Bold"),
            ("list", "- one and more\n- two"),
        ]

    def test_it_reads_ruled_tables_where_they_stand(self) -> None:
        rows = [["Item", "Note", "Sum"], ["Bolt", "two words", ""], ["", "", "$1.20"]]
        first = [write(72, 800, "Before"), *rule_table(72, 780, rows), write(72, 700, "After")]
        parsed = self.read(first, rule_table(72, 780, rows[:2]))
        assert [block["content"] for block in parsed["blocks"][::2]] == ["Before", "After"]
        assert [(table["page"], table["headers"], table["rows"]) for table in parsed["tables"]] == [
            (1, rows[0], rows[1:]),
            (2, rows[0], rows[1:2]),
        ]

    def test_it_reads_tables_without_rules_by_their_columns(self) -> None:
        places = ((72, "Item", 800), (72, "Bolt", 785), (200, "Qty", 800), (300, "Sum", 800), (304, "3.00", 785))
        parsed = self.read([write(x, y, text) for x, text, y in places])
        assert parsed["tables"] == [{"headers": ["Item", "Qty", "Sum"], "rows": [["Bolt", "", "3.00"]], "page": 1}]

    def test_a_box_around_a_text_is_no_table(self) -> None:
        box = rule_table(72, 800, [["Only a remark"]], width=200)
        assert self.contents([*box, write(72, 700, "Text")]) == [("paragraph", "Only a remark"), ("paragraph", "Text")]

    def test_columns_of_prose_are_read_one_after_the_other(self) -> None:
        lines = ("the left column of this page", "runs on below", "the right one starts", "up here as well it does")
        page = [
            write(x, 800 - 13 * row, lines[start + row] + " and goes on with words")
            for x, start in ((72, 0), (310, 2))
            for row in (0, 1)
        ]
        first, second = self.contents(page)
        assert (first[1].count("left"), second[1].count("right"), first[0]) == (1, 1, "paragraph")

    def test_without_tables_their_text_is_in_blocks_and_rules_cost_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pdfplumber.page import Page

        monkeypatch.setattr(Page, "process_object", lambda *_: pytest.fail("a rule was looked at"))
        monkeypatch.setattr(Page, "find_tables", lambda *_: pytest.fail("tables were looked for"))
        page = rule_table(72, 780, [["a", "b"], ["1", "2"]])
        assert self.contents(page, tables=False) == [("table", "a | b\n1 | 2")]
        assert self.read(page, tables=False)["tables"] == []

    def test_a_drawing_is_not_searched_for_tables(self) -> None:
        drawing = [draw(50, 100 + 0.2 * step, 500, 100 + 0.2 * step) for step in range(3_001)]
        assert self.read([*drawing, write(72, 800, "Map")])["tables"] == []

    def test_what_is_set_twice_to_look_bold_is_read_once(self) -> None:
        assert self.contents([write(72, 800, "Too bold"), write(72.3, 800, "Too bold")]) == [("paragraph", "Too bold")]

    @pytest.mark.parametrize(
        ("pages", "limit"),
        [([[]] * 501, "pages"), ([[write(0, 800, "x" * 100_001)]], "characters")],
    )
    def test_it_has_bounds(self, pages: list[list[str]], limit: str) -> None:
        with pytest.raises(LimitExceeded) as reached:
            self.read(*pages)
        assert reached.value.limit == limit

    def test_all_pages_together_have_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agents.skills.document_parser.paged.MAX_CHARACTERS", 9)
        with pytest.raises(LimitExceeded, match="9 characters"):
            self.read([write(0, 800, "12345")], [write(0, 800, "12345")])

    def test_it_says_when_a_password_is_needed(self) -> None:
        with pytest.raises(SkillError) as failed:
            parse(LOCKED, format="pdf")
        assert failed.value.code == "document_encrypted"

    @pytest.mark.parametrize(
        "content",
        ["no base64!", base64.b64encode(b"not a pdf").decode(), base64.b64encode(b"%PDF-1.7\ngarbage").decode()],
    )
    def test_it_refuses_what_is_not_one(self, content: str) -> None:
        with pytest.raises(SkillError) as failed:
            parse(content, format="pdf")
        assert failed.value.code == "document_invalid"

    def test_one_that_takes_for_ever_is_stopped(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The child that reads it is killed at the deadline; here it is one that sleeps."""
        from agents.skills.document_parser import confined

        sleeper = tmp_path / "child.py"
        sleeper.write_text("import time\ntime.sleep(60)\n")
        monkeypatch.setattr(confined, "CHILD", sleeper)
        monkeypatch.setattr(confined, "PACKAGES", (*confined.PACKAGES, tmp_path))
        with pytest.raises(LimitExceeded) as reached:
            confined.parse_confined(b"%PDF-", Options(format=Format.PDF), timeout_seconds=0.5)
        assert reached.value.limit == "time"


class TestSize:
    def test_it_refuses_what_is_over_ten_megabytes(self, tmp_path: Path) -> None:
        (tmp_path / "large.csv").write_bytes(b"a\n" * 5_000_001)
        context = SkillContext(workspace=tmp_path, task_id="t", timeout_seconds=5, read_scopes=("",))
        arguments = DocumentParserInput.model_validate({"format": "csv", "filePath": "large.csv"})
        with pytest.raises(LimitExceeded) as reached:
            DocumentParser().run(arguments, context)
        assert reached.value.limit == "bytes"


class TestEntities:
    def test_it_gives_each_value_once(self) -> None:
        output = parse("a@b.co,a@b.co\na@b.co,c@d.co\n", format="csv")
        assert [entity.value for entity in output.entities] == ["a@b.co", "c@d.co"]

    def test_it_gives_what_was_written_and_its_one_form(self) -> None:
        (entity,) = parse("a,b\nnet,($5.00)\n", format="csv").entities
        assert (entity.value, entity.normalized, entity.context) == ("($5.00)", "-5.00 USD", "net | ($5.00)")

    def test_it_has_bounds(self) -> None:
        text = "".join(f"a{number}@b.co," for number in range(50_001))
        with pytest.raises(LimitExceeded) as reached:
            parse_document(f"<p>{text}".encode(), Options(format=Format.HTML))
        assert reached.value.limit == "entities"
