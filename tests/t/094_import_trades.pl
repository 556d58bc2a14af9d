# Trades through the command: an import that dies in its middle is completed by a second run, a third
# changes nothing, imports that overlap wait for each other, and the real trades amount to what
# their exporter said.

use strict;
use warnings;

use FindBin;
use IO::Compress::Gzip qw(gzip $GzipError);
use IO::Handle;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $chunk = 5000;    # trades of an import's transaction
my $trades = 3 * $chunk + 789;
my $tmp = PostgreSQL::Test::Utils::tempdir('trades');
my $node = Tradekeep::new_node('trades');
$node->append_conf('postgresql.conf', "restart_after_crash = off\nlog_lock_waits = on");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');
my $url = $node->connstr('postgres');

sub sql
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

# The command with these arguments: its exit code, and what it says.
sub tradekeep
{
	my @arguments = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'tradekeep', @arguments, '--url', $url ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# The exit code of an import and its counts: added, replaced, unchanged, conflicts, rejected.
sub counts
{
	my ($code, $out) = @_;
	my %count = $out =~ /"(\w+)": (\d+)/g;
	return join ' ', $code, map { $count{$_} // '-' } qw(added replaced unchanged conflicts rejected);
}

sub import_trades
{
	my ($file, @options) = @_;
	return counts(tradekeep('import', 'trades', $file, '--json', @options));
}

sub digest
{
	my ($bot) = @_;
	return sql(<<"SQL");
SELECT count(*), md5(string_agg(format('%s %s %s %s %s %s %s', trade_id, symbol, side, pnl, pnl_ratio, opened_at, closed_at), ','
	ORDER BY trade_id)) FROM tradekeep.trade WHERE bot = '$bot'
SQL
}

sub line
{
	my ($i) = @_;
	return sprintf "%d,S%d/USDT,%s,0.%d,100.25,%.2f,%d,%d\n", $i, $i % 7, $i % 3 ? 'LONG' : 'SHORT', 1 + $i % 9,
	  99 + $i % 300 / 100, 1600000000 + 60 * $i, 1600003600 + 60 * $i;
}

my $header = "trade_id,symbol,side,quantity,entry_price,exit_price,opened_at,closed_at\n";
my $csv = join '', $header, map { line($_) } 0 .. $trades - 1;
append_to_file("$tmp/all.csv", $csv);
is(import_trades("$tmp/all.csv", '--bot', 'whole'), "0 $trades 0 0 0 0", 'an import that nothing disturbs');
my $whole = digest('whole');

# Feeds an import two chunks and a part of the third, and waits until the two are stored: it then
# waits for more, in the middle of its file.
sub half_import
{
	my ($bot) = @_;
	my $out = '';
	my $half = length join '', $header, map { line($_) } 0 .. 2 * $chunk + $chunk / 2;
	my $import = IPC::Run::start([ 'tradekeep', 'import', 'trades', '-', '--bot', $bot, '--json', '--url', $url ],
		'<pipe', \*FEED, '>', \$out, '2>', '/dev/null');
	FEED->blocking(1);
	FEED->autoflush(1);
	print FEED substr $csv, 0, $half;
	$node->poll_query_until('postgres', "SELECT count(*) >= 2 * $chunk FROM tradekeep.trade WHERE bot = '$bot'")
	  or die 'the import stands still';
	return ($import, \$out, substr $csv, $half);
}

# The second run completes it, and the third finds nothing to do.
sub complete
{
	my ($bot, $what) = @_;
	my $stored = 2 * $chunk;
	my $missing = $trades - $stored;
	is(sql("SELECT count(*) FROM tradekeep.trade WHERE bot = '$bot'"), $stored, "$what: whole chunks are stored");
	is(import_trades("$tmp/all.csv", '--bot', $bot), "0 $missing 0 $stored 0 0", "$what: a second run completes it");
	is(import_trades("$tmp/all.csv", '--bot', $bot), "0 0 0 $trades 0 0", "$what: a third changes nothing");
	is(digest($bot), $whole, "$what: all is there");
	return;
}

local $SIG{PIPE} = 'IGNORE';
my ($import) = half_import('client');
$import->signal('KILL');
$import->finish;
close FEED;
complete('client', 'the client killed');

($import, my $out, my $rest) = half_import('server');
Tradekeep::crash($node);
print FEED $rest;
close FEED;
$import->finish;
is($import->result(0), 3, 'the server killed: the import says that it cannot be reached');
like($$out, qr/"complete": false/, 'the server killed: and that it is not complete');
$node->start;
complete('server', 'the server killed');

($import, $out) = half_import('interrupted');
$import->signal('INT');
$import->finish;
close FEED;
is($import->result(0), 130, 'interrupted: the exit code');
like($$out, qr/"complete": false/, 'interrupted: it is not complete');
complete('interrupted', 'interrupted');

# What is unchanged is not written: each row is the very one it was.
my $rows = "SELECT md5(string_agg(format('%s %s', xmin, ctid), ',' ORDER BY trade_id)) FROM tradekeep.trade WHERE bot = 'whole'";
my $before = sql($rows);
is(import_trades("$tmp/all.csv", '--bot', 'whole', '--replace'), "0 0 0 $trades 0 0", 'again, with --replace');
is(sql($rows), $before, 'unchanged trades are not written');

# The same trades from both ends at once: a lock that the first chunk needs holds the two up, and
# then they wait for each other.
my $backwards = join '', $header, map { line($_) } reverse 0 .. $chunk - 1;
my $forwards = join '', $header, map { line($_) } 0 .. $chunk - 1;
append_to_file("$tmp/backwards.csv", $backwards);
append_to_file("$tmp/forwards.csv", $forwards);
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT tradekeep.add_trade('0', NULL, 'X', 'LONG', 1::numeric, 1, bot => 'both')");
my @both;
for my $file ('backwards', 'forwards')
{
	my $said = '';
	push @both, [ IPC::Run::start([ 'tradekeep', 'import', 'trades', "$tmp/$file.csv", '--bot', 'both', '--json', '--url', $url ],
			'>', \$said, '2>&1'), \$said ];
}
$node->poll_query_until('postgres', <<'SQL') or die 'they do not wait';
SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'tradekeep import' AND wait_event_type = 'Lock'
SQL
$holder->query_safe('ROLLBACK');
$holder->quit;
my $added = 0;
for my $one (@both)
{
	$one->[0]->finish;
	is($one->[0]->result(0), 0, 'one of two imports of the same trades');
	$added += $1 if ${ $one->[1] } =~ /"added": (\d+)/;
}
is($added, $chunk, 'of two imports of the same trades each is added by one');

# Whatever was imported and however, the statistics are those of the trades.
sql('CALL tradekeep.settle_trades()');
is(sql('SELECT count(*) FROM tradekeep.verify_trade_stats()'), 0, 'the statistics are right');
my ($code, $json) = tradekeep('stats', '--json', '--bot', 'whole', '--balance', '1000000', '--at', '2026-01-01');
is(sql("SELECT j - 'average_holding' = to_jsonb(s) - 'average_holding' FROM (SELECT '$json'::jsonb) AS t(j),
	tradekeep.trade_stats(bot => 'whole', starting_balance => 1000000, at => '2026-01-01 00:00Z') AS s"),
	't', 'stats prints what the database says');

# The last chunk is bad: what came before stays.
append_to_file("$tmp/bad.csv", $csv . "bad,S,UP,1,1,1,1600000000,1600000000\n");
is(import_trades("$tmp/bad.csv", '--bot', 'bad'), '1 ' . 3 * $chunk . ' 0 0 0 0', 'stop: nothing of the bad chunk');
is(import_trades("$tmp/bad.csv", '--bot', 'bad', '--on-error=skip'), '4 789 0 ' . 3 * $chunk . ' 0 1', 'skip: the others');
is(digest('bad'), $whole, 'skip: all of them');

SKIP:
{
	my $real = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data/trades-backtest.freqtrade.json';
	skip 'the real trades of ../shared/data are not here', 1 unless -e $real;

	is(import_trades($real, '--bot', 'real', '--strategy', 'S'), '0 179 0 0 0 0', 'real trades');
	is(import_trades($real, '--bot', 'real', '--strategy', 'S'), '0 0 0 179 0 0', 'real trades again');
	gzip($real => "$tmp/real.gz") or die $GzipError;
	is(import_trades("$tmp/real.gz", '--bot', 'real', '--strategy', 'S'), '0 0 0 179 0 0', 'real trades gzipped');
	my $text = slurp_file($real);
	$text =~ s/"profit_abs": -/"profit_abs": -1/;
	append_to_file("$tmp/changed.json", $text);
	is(import_trades("$tmp/changed.json", '--bot', 'real', '--strategy', 'S', '--on-error=skip'), '4 0 0 178 1 0', 'one that differs');

	# What the exporter stated, and the sums of its own figures
	my ($stated) = $text =~ /"stated": (\{.*?\})/s;
	is(sql(<<"SQL"), 't|t|t|170|9|0|t', 'what freqtrade said of them');
SELECT total_pnl::float8 = (j ->> 'profit_total_abs')::float8, abs(profit_factor - (j ->> 'profit_factor')::float8) < 1e-12,
	trades = (j ->> 'total_trades')::int, wins, losses, draws, (0.01 + total_pnl)::float8 = (j ->> 'final_balance')::float8
FROM tradekeep.trade_stats(bot => 'real'), (SELECT '$stated'::jsonb) AS t(j)
SQL
	is(sql(<<'SQL'), '179|10|0.179000|170|1|2018-01-10 07:15:00|2018-01-30 04:45:00', 'what is stored of them');
SELECT count(*), count(DISTINCT symbol), round(sum(quantity * entry_price), 6), count(*) FILTER (WHERE exit_reason = 'roi'),
	count(data), min(opened_at) AT TIME ZONE 'UTC', max(closed_at) AT TIME ZONE 'UTC' FROM tradekeep.trade WHERE bot = 'real'
SQL
}

ok(slurp_file($node->logfile) !~ /deadlock detected/, 'no deadlock');
$node->stop;
done_testing();
