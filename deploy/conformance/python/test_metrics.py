"""The text of /metrics, in both of its formats, as the parsers of the Prometheus client read it."""

import os
import unittest
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_004

URL = f"{os.environ['HELIOGRAPH_ADMIN']}/metrics"


def scrape(accept):
    request = urllib.request.Request(URL, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def families(parse, text):
    return {family.name: family for family in parse(text)}


def series(all_families):
    """Every series, and its kind; values change from scrape to scrape."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())), family.type)
        for family in all_families.values()
        for sample in family.samples
    }


class Metrics(unittest.TestCase):
    def test_both_formats_are_read_and_have_the_same_series(self):
        kind, text = scrape("application/openmetrics-text;version=1.0.0")
        self.assertEqual(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        # This parser is strict: order, suffixes, units, buckets and the end are checked.
        strict = families(open_metrics, text)
        kind, text = scrape("text/plain;version=0.0.4")
        self.assertEqual(kind, "text/plain; version=0.0.4; charset=utf-8")
        lenient = families(text_004, text)
        self.assertEqual(series(strict), series(lenient))
        for families_ in (strict, lenient):
            self.assertGreater(len(families_), 40)
            for family in families_.values():
                self.assertTrue(family.documentation, family.name)
                self.assertIn(family.type, ("counter", "gauge", "histogram"), family.name)
                self.assertTrue(family.samples, family.name)

    def test_a_text_that_breaks_the_rules_is_refused(self):
        _, text = scrape("application/openmetrics-text")
        for right, wrong in (("# EOF\n", ""), ('le="+Inf"', 'le="9"'), ("_count ", "_count x")):
            broken = text.replace(right, wrong)
            self.assertNotEqual(broken, text)
            with self.assertRaises(ValueError, msg=wrong):
                list(open_metrics(broken))


if __name__ == "__main__":
    unittest.main()
