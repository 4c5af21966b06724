import sys
import unittest
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from invoicing.totals import Line, gross_total, net_total, round_amount, tax_total

DRIVES = Line("KD-400 servo drive", 4, Decimal("312.50"))
FANS = Line("Fan kit", 2, Decimal("61.00"), tax_percent=Decimal("7"))


class TotalsTest(unittest.TestCase):
    def test_net_is_the_sum_of_all_lines(self):
        self.assertEqual(net_total([DRIVES, FANS]), Decimal("1372.00"))

    def test_tax_is_rounded_line_by_line(self):
        self.assertEqual(tax_total([DRIVES, FANS]), Decimal("246.04"))

    def test_gross_is_net_and_tax(self):
        self.assertEqual(gross_total([DRIVES, FANS]), Decimal("1618.04"))

    def test_an_empty_invoice_costs_nothing(self):
        self.assertEqual(gross_total([]), Decimal(0))

    @unittest.skip("round_amount goes through a float: patch invoicing/totals.py, then delete this line")
    def test_half_a_cent_is_rounded_up(self):
        self.assertEqual(round_amount(Decimal("2.675")), Decimal("2.68"))


if __name__ == "__main__":
    unittest.main()
