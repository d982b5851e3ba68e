//! The long help of `aioxide fetch`: lists, the report, names and statuses.

macro_rules! examples {
    () => {
        "Examples:
  aioxide fetch https://example.org/a.pdf           one file
  aioxide fetch -i urls.txt -o files -j 100         a list, 100 at a time
  aioxide fetch -i urls.txt -o files --per-host 4   gently
  aioxide fetch -i urls.txt --warc site.warc.gz     an archive, with an index
  aioxide fetch --split 4 https://example.org/a.iso  a large file in four ranges
  aioxide fetch -i urls.txt --discard --resolver 9.9.9.9,1.1.1.1  names at scale
  zcat urls.gz | aioxide fetch -i - --discard --report report.jsonl
  aioxide fetch -i urls.txt --report - -q | jq 'select(.outcome != \"ok\")'"
    };
}

/// The end of the short help.
pub(super) const FETCH_SHORT: &str = examples!();

/// The end of the long one. No line is longer than 80 columns: a terminal that wide shows them as they are.
pub(super) const FETCH_LONG: &str = concat!(
    examples!(),
    r#"

A list has one URL per line, in UTF-8, and nothing else: a tab, a control
character, a comment or a second URL behind it makes it an invalid_url. It is
read as it comes, so it may be a pipe that another program still writes to.

A table (.csv, .tsv, --format) has a first line that names its columns, JSON
lines (.jsonl) have the same names: url, and if wanted name, sha256, sha512,
sha1, md5 or checksum (ALGORITHM:HEX), and header:NAME, in JSON an object named
headers; these go to the URL's own origin, not to where it redirects. Other
columns are passed over. A name may have directories.

The report has one JSON object per URL, in the order in which they ended. It is
written as they end:
  line      the URL's line in FILE, also where it came by a queue; for a URL of
            the command line, its place
  url       as it was given, password and all (a new report is then its owner's
            alone, mode 0600); messages hide passwords
  outcome   one of those below
  status    the HTTP status, or null
  bytes     how many bytes of the body came
  path      the file's name in DIR, or null
  seconds   from its start to its end
  attempts  how many times it was tried; 0 when it never started
  error     what went wrong, or null
  resumed   how many bytes did not have to come again, since a new attempt went
            on from an earlier one
  stalls    how often nothing came for --read-timeout, or too little for
            --min-speed
  final_url where redirects led, or null
  content_type, encoding
            what the answer said about itself, or null
  list      only of what failed, if there was any: the name and the checksums
            that its list had for it, and the names of headers; --retry-failed
            uses them, and wants the list, too (-i), where there were headers

Outcomes, and their marks:
  .  ok              the whole thing came
  =  not_modified    304 to a condition of yours (-H 'If-None-Match: ...') or
                     of --newer; nothing is written
  -  skipped         it was there already (--skip-existing)
  H  http_error      not the whole thing asked for: status 400 and up, 206
                     without a Range header, 304 without a condition, 204
                     unless --discard, 202, 207, 208, 226, a redirect to nowhere
  C  connect_error   no connection could be made
  L  tls_error       the certificate or the handshake failed
  T  timeout         see --timeout, --read-timeout and --min-speed
  P  protocol_error  the answer broke the rules, ended early, was reset, or
                     redirected without end
  G  too_large       larger than --max-size
  D  checksum_error  whole, but not what the checksum is of
  N  unexpected_content
                     a web page, by its type or its first bytes, where the name
                     promises a picture, an archive, a table (.jpg, .iso, .csv):
                     a challenge, a login, a consent that answers 200
  R  disallowed      by the host's robots.txt (--robots), or because the server
                     cannot tell whether it has one
  I  io_error        a file could not be written
  U  invalid_url
  X  cancelled

A URL that waits for another attempt holds nothing up. A host that answers with
Retry-After is left alone by all its URLs until then. A body that broke off is
gone on from (Range, If-Range) if the server told an ETag or a Last-Modified, or
you a checksum; the last 4 KiB come again and are compared, and on any doubt the
whole is asked for.

With --split N, a file of 16 MiB and more comes in N ranges at once, written to
their places, if the server says Accept-Ranges: bytes and tells an ETag or a
Last-Modified. Each range has to be of the same version and length, and to
repeat the 4 KiB before it; on any doubt, also when the file changes meanwhile,
the whole is begun again in one stream, once. A range that breaks off or stalls
is retried on its own; one that is refused comes later over another's
connection. With --state, what was written of each range stays. --min-speed is
shared out among the ranges.

With --state, a job can be started again after any end of its runs, kill -9
included, with the same list (which may have grown), DIR, names and report; with
another DIR or --name it is refused. Nothing
that was whole comes again, parts of a megabyte and more are gone on from, and
the report has one line per URL. What is cancelled has no line: it is still to
come. What has failed has failed. A power cut is survived with --fsync.

With --queue, the list is shared with other workers: `aioxide queue --help`, and
docs/guide/many-machines.md. A worker takes shard after shard, of about 10 000
URLs, until none is left. SIGTERM has it give its shard back. When it dies or is
silent for 60 seconds, another one goes on with it. The exit status is then 0
also when URLs have failed, and 1 when it has set a shard aside.

The system's resolver looks up 64 names at a time and keeps no answer longer
than 10 seconds. With --resolver, fetch asks the servers itself, 256 questions
at a time (those that wait for more than a second do not count), each from a
port of its own: over UDP, and over TCP what is too long for that. A server that
is silent for 1 second, or cannot help, is passed over for the next one; one
that was silent three times in a row is asked last for 10 seconds. A silent one
is asked again after 1, 2, 3 seconds; after 10 the name is given up, and is a
connect_error as with the system. Answers are kept for as long as they say, an
hour at most; that there is no such name or address, five minutes at most, and
such a URL is not retried. 16 384 names are kept. At most 10 aliases (CNAME)
lead to an address. IPv6 is asked for beside IPv4 where the machine has a route
to it, else only for names without IPv4. /etc/hosts and --resolve come first.
Names of one part, which a search domain completes, and names under .local are
left to the system; .onion, .invalid and .alt are asked for nowhere. An answer
must come from the server that was asked, with the question's identifier and
name; anything else is passed over.

Templates (--name) are for URLs that the list has no name for. They are made of
text and of {name}, the name a file has without one; {stem} and {ext}, its
parts; {host}; {dir}, the directories of the URL's path; {path}, which is
{dir}/{name}; {hash}, of the URL; {n:1}, the URL's place among all, and {n:05},
with five digits; {line}, its line. Other formats come by a pipe:
duckdb -c "copy (from 'x.parquet') to '/dev/stdout' (format csv)" | ...

With --tar-shards N, DIR gets shard-000000.tar and so on, of N downloads each. A
download is two members: 000000012.jpg, the body, numbered by its URL's place
among all, and 000000012.json, its line of the report. shard-000000.jsonl has
one line for each: where its body begins in the shard, and how long it is. A
shard has its name only once it is whole.

With --warc FILE.warc.gz, DIR gets a WARC/1.1 file, and FILE.cdxj, an index in
the order of its keys, for pywb, warcio and the like. Each answer that came
whole is in it, errors and the redirects on the way among them, with its head as
it came (HTTP/2: as HTTP/1.1), its body as it came but out of its chunks (the
head then has X-Crawler-Transfer-Encoding), and the request. What was cut is
left out, and so are cookies, credentials and secret headers of requests, and
redirects that led to no answer. Nothing is gone on from: a record is of one
answer. --compressed keeps bodies compressed. In the report, path is
FILE#OFFSET. FILE has its name once it is whole; where it is taken, it is
FILE-1, FILE-2.

File names come from the URL's last part and query, or on request from the
server (--content-disposition). What could leave DIR or hide a file becomes _:
/ \ : * ? " < > |, control characters, a first . - or ~. Blanks, $ & ; ( ) ' and
` stay: in a shell, put names in quotes. A taken name gets a number: a.pdf,
a-1.pdf, a-2.pdf. A file has its name only once it is whole.

Ctrl-C once stops, removes what is half done and completes the report; twice
kills. SIGTERM and SIGHUP do as Ctrl-C once. A list in a file is accounted for
to its end, one from a pipe as far as it comes within a second. A full disk ends
the run in the same way.

Exit status:
  0    all URLs are ok, not_modified or skipped
  1    some are not, or the list or the report failed
  2    nothing was done: wrong usage, or a file that cannot be opened
  129, 130, 143
       stopped by SIGHUP, Ctrl-C, SIGTERM: 128 and the signal's number"#
);

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn help_is_printed_as_it_stands_here() {
        let help = Cli::command().find_subcommand_mut("fetch").unwrap().render_long_help().to_string();
        assert!(help.contains(FETCH_LONG));
    }

    #[test]
    fn help_fits_a_terminal_of_80_columns() {
        for line in FETCH_LONG.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
