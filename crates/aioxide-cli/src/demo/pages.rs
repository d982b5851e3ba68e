//! The two small sites that stand in for the lesson's: what they answer, and how long they take.

use std::fmt::Write as _;
use std::time::Duration;

/// A site: where it stands on its server, and what it serves there.
#[derive(Debug)]
pub(crate) struct Page {
    /// The path, which also carries the name that the lesson's program looks for.
    pub(crate) path: &'static str,
    pub(crate) title: &'static str,
    /// About as many bytes as the real page has.
    pub(crate) bytes: usize,
    /// Its answering time relative to `--delay`; the two together take twice `--delay`.
    pub(crate) slowness: f64,
}

/// The lesson's two sites.
pub(crate) static PAGES: [Page; 2] = [
    Page { path: "/www.jython.org/", title: "Jython", bytes: 10_500, slowness: 0.8 },
    Page { path: "/realpython.com/", title: "Real Python", bytes: 57_000, slowness: 1.2 },
];

impl Page {
    /// The page itself.
    pub(crate) fn html(&self) -> String {
        let title = self.title;
        let mut html =
            format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>\n<h1>{title}</h1>\n");
        let mut paragraph = 0;
        while html.len() < self.bytes {
            paragraph += 1;
            let _ = writeln!(
                html,
                "<p>{paragraph}. This page stands in for {title}, so that the demo needs no network.</p>"
            );
        }
        html.push_str("</body></html>\n");
        html
    }

    /// How long the `number`-th answer takes: from half to one and a half of the mean, the same in every run.
    pub(crate) fn delay(&self, mean: Duration, number: u64) -> Duration {
        let spread = 0.5 + (scrambled(number) >> 11) as f64 / (1u64 << 53) as f64;
        mean.mul_f64(self.slowness * spread)
    }
}

/// The SplitMix64 generator: a well-spread number for each seed.
fn scrambled(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_about_as_long_as_the_real_ones() {
        for page in &PAGES {
            let html = page.html();
            assert!(html.len() >= page.bytes && html.len() < page.bytes + 200);
            assert!(html.ends_with("</html>\n"));
        }
    }

    #[test]
    fn delays_vary_around_their_mean() {
        let mean = Duration::from_millis(100);
        let delays: Vec<Duration> = (0..1000).map(|number| PAGES[0].delay(mean, number)).collect();
        assert!(delays.iter().all(|delay| (40..=120).contains(&delay.as_millis())));
        let sum: Duration = delays.iter().sum();
        assert!((75..=85).contains(&(sum / 1000).as_millis()), "{sum:?}");
        assert!(
            delays.windows(2).any(|pair| pair[0] > pair[1])
                && delays.windows(2).any(|pair| pair[0] < pair[1])
        );
        assert_eq!(PAGES[0].delay(Duration::ZERO, 3), Duration::ZERO);
    }
}
