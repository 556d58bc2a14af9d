# A live session keeps plans and Oids; what they point at may be rebuilt, altered, dropped and made
# anew under it, by itself and by others.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $node = Tradekeep::new_node('lifecycle');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');

# A round of calls by a session that goes on: a new claim, its duplicate, a batch, a signal, a candle.
my $calls = <<'SQL';
SELECT tradekeep.claim('s', :'n', '1 h'), tradekeep.claim('s', :'n', '1 h'),
	tradekeep.claim_many('s', ARRAY[:'n', :'n' || 'b'], '1 h'),
	(tradekeep.claim_signal(:'n', 'LONG', 5)).claimed, (tradekeep.claim_signal(:'n', 'LONG', 5)).claimed,
	tradekeep.upsert_candle(:'n', '1m', '2026-01-01 00:00Z', 1, 2, 0.5, 1, 10),
	tradekeep.upsert_candle(:'n', '1m', '2026-01-01 00:00Z', 1, 2, 0.5, 1, 10);
SELECT tradekeep.claimed('s', :'n');
SQL
my $good = "t|f|{f,t}|t|f|inserted|unchanged\nt";
my @upheavals = (
	'SELECT 1',
	'REINDEX TABLE tradekeep.claim; REINDEX TABLE tradekeep.signal; REINDEX TABLE tradekeep.candle',
	'VACUUM FULL tradekeep.claim; VACUUM FULL tradekeep.signal; VACUUM FULL tradekeep.candle',
	'CLUSTER tradekeep.claim USING claim_pkey',
	'REINDEX TABLE CONCURRENTLY tradekeep.claim; REINDEX TABLE CONCURRENTLY tradekeep.candle',
	'ALTER TABLE tradekeep.claim ADD COLUMN note text; ALTER TABLE tradekeep.candle ADD COLUMN note text',
	'ALTER TABLE tradekeep.claim RENAME CONSTRAINT claim_pkey TO renamed',
	'TRUNCATE tradekeep.claim, tradekeep.signal, tradekeep.candle',
	'ANALYZE tradekeep.claim',
	'DROP EXTENSION tradekeep CASCADE; CREATE EXTENSION tradekeep',
	'DROP EXTENSION tradekeep CASCADE; CREATE EXTENSION tradekeep; DROP EXTENSION tradekeep CASCADE; CREATE EXTENSION tradekeep',
);

# By the session itself.
my $script = '';
for my $i (0 .. $#upheavals)
{
	(my $statements = $upheavals[$i]) =~ s/; /;\n/g;
	$script .= "$statements;\n\\set n own$i\n$calls";
}
my @answers = grep { $_ ne '1' } split /\n/, $node->safe_psql('postgres', $script);
is("$answers[2 * $_]\n$answers[2 * $_ + 1]", $good, "the session itself: $upheavals[$_]") for 0 .. $#upheavals;

# By another, between two rounds of a session that stays.
$script = '';
for my $i (0 .. $#upheavals)
{
	my $connection = $node->connstr('postgres');
	open my $file, '>', "$PostgreSQL::Test::Utils::tmp_check/upheaval$i.sql" or die $!;
	(my $statements = $upheavals[$i]) =~ s/; /;\n/g;
	print $file "$statements;\n";
	close $file;
	$script .= "\\! psql -XAtq -v ON_ERROR_STOP=1 -d \"$connection\" -f \"$PostgreSQL::Test::Utils::tmp_check/upheaval$i.sql\" >/dev/null\n"
	  . "\\set n other$i\n$calls";
}
@answers = split /\n/, $node->safe_psql('postgres', $script);
is("$answers[2 * $_]\n$answers[2 * $_ + 1]", $good, "another session: $upheavals[$_]") for 0 .. $#upheavals;

# Signals have no unique index to fall back on: without their key nothing is granted.
my ($status, $output, $error) = $node->psql('postgres', <<'SQL', on_error_stop => 0);
ALTER TABLE tradekeep.signal DROP CONSTRAINT signal_pkey;
\set VERBOSITY sqlstate
SELECT tradekeep.claim_signal('blind', 'LONG', 5);
SQL
like($error, qr/ERROR:  55000/, 'no key, no signal');

$node->stop;
done_testing();
