# Candles through the command: what dies in mid-import is completed by a second run, a third changes
# nothing, and what is exported comes back the same, with real bars too.

use strict;
use warnings;

use FindBin;
use IO::Compress::Gzip qw(gzip $GzipError);
use IO::Handle;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Tradekeep;

my $chunk = 20000;    # rows of an import's transaction
my $rows = 3 * $chunk + 1234;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $node = Tradekeep::new_node('import');
$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION tradekeep');
my $url = $node->connstr('postgres');

# The command with these arguments: its exit code, and what it says.
sub tradekeep
{
	my @arguments = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'tradekeep', @arguments, '--url', $url ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# The exit code of an import and its counts: inserted, updated, unchanged, ignored, rejected.
sub import_candles
{
	my ($file, @options) = @_;
	my ($code, $out) = tradekeep('import', 'candles', $file, '--json', @options);
	my %count = $out =~ /"(\w+)": (\d+)/g;
	return join ' ', $code, map { $count{$_} // '-' } qw(inserted updated unchanged ignored rejected);
}

sub digest
{
	my ($symbol) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT count(*), md5(string_agg(format('%s %s %s %s %s %s %s', ts, open, high, low, close, volume, closed), ',' ORDER BY ts))
FROM tradekeep.candle WHERE symbol = '$symbol'
SQL
}

my $csv = "ts,open,high,low,close,volume\n";
$csv .= sprintf "%d,%.4f,9,0.125,%.4f,%d\n", 1600000020 + 60 * $_, 1 + $_ % 7 / 10, 2 + $_ % 11 / 10, $_
  for 0 .. $rows - 1;
append_to_file("$tmp/all.csv", $csv);
is(import_candles("$tmp/all.csv", '--symbol', 'WHOLE', '--timeframe', '1m'),
	"0 $rows 0 0 0 0", 'an import that nothing disturbs');
my $whole = digest('WHOLE');

# Feeds an import two chunks and a part of the third, and waits until the two are stored: it then
# waits for more, in the middle of its file.
sub half_import
{
	my ($symbol) = @_;
	my $out = '';
	my $half = 1 + index $csv, sprintf("\n%d,", 1600000020 + 60 * (2 * $chunk + $chunk / 2));
	my $import = IPC::Run::start(
		[ 'tradekeep', 'import', 'candles', '-', '--symbol', $symbol, '--timeframe', '1m', '--json', '--url', $url ],
		'<pipe', \*FEED, '>', \$out, '2>', '/dev/null');
	FEED->blocking(1);
	FEED->autoflush(1);
	print FEED substr $csv, 0, $half;
	$node->poll_query_until('postgres',
		"SELECT count(*) >= 2 * $chunk FROM tradekeep.candle WHERE symbol = '$symbol'")
	  or die 'the import stands still';
	return ($import, \$out, substr $csv, $half);
}

# The second run completes it, and the third finds nothing to do.
sub complete
{
	my ($symbol, $what) = @_;
	my $stored = 2 * $chunk;
	my $missing = $rows - $stored;
	is($node->safe_psql('postgres', "SELECT count(*) FROM tradekeep.candle WHERE symbol = '$symbol'"),
		$stored, "$what: whole chunks are stored");
	is(import_candles("$tmp/all.csv", '--symbol', $symbol, '--timeframe', '1m'),
		"0 $missing 0 $stored 0 0", "$what: a second run completes it");
	is(import_candles("$tmp/all.csv", '--symbol', $symbol, '--timeframe', '1m'),
		"0 0 0 $rows 0 0", "$what: a third changes nothing");
	is(digest($symbol), $whole, "$what: all is there");
}

local $SIG{PIPE} = 'IGNORE';
my ($import) = half_import('CLIENT');
$import->signal('KILL');
$import->finish;
close FEED;
complete('CLIENT', 'the client killed');

($import, my $out, my $rest) = half_import('SERVER');
Tradekeep::crash($node);
print FEED $rest;
close FEED;
$import->finish;
is($import->result(0), 3, 'the server killed: the import says that it cannot be reached');
like($$out, qr/"complete": false/, 'the server killed: and that it is not complete');
$node->start;
complete('SERVER', 'the server killed');

# Interrupted, it stores the chunk under way and says so.
($import, $out) = half_import('INTERRUPTED');
$import->signal('INT');
$import->finish;
close FEED;
is($import->result(0), 130, 'interrupted: the exit code');
like($$out, qr/"complete": false/, 'interrupted: it is not complete');
complete('INTERRUPTED', 'interrupted');

# Bad rows in the last chunk: stop keeps what came before, skip leaves out those alone.
my @as_bad = ('--symbol', 'BAD', '--timeframe', '1m');
my %bad = ('no row' => "1600000020,x,9,1,2,1\n", 'refused' => "1500000000,1,9,10,2,1\n");
for my $what (sort keys %bad)
{
	append_to_file("$tmp/$what.csv", $csv . $bad{$what});
	is(import_candles("$tmp/$what.csv", @as_bad), '1 ' . 3 * $chunk . ' 0 0 0 0', "stop, $what: nothing of the bad chunk");
	$node->safe_psql('postgres', "DELETE FROM tradekeep.candle WHERE symbol = 'BAD'");
}
append_to_file("$tmp/bad.csv", "$csv$bad{'refused'}$bad{'no row'}");
my ($code, undef, $err) = tradekeep('import', 'candles', "$tmp/bad.csv", '--on-error=skip', @as_bad);
is($code, 4, 'skip: the exit code');
my $line = $rows + 2;
like($err, qr/bad\.csv: line $line: .*\[TK00[45]\]/, 'skip: what the server refuses, by its line');
$line++;
like($err, qr/bad\.csv: line $line: .*\[TK006\]/, 'skip: what is no row, by its line');
is(digest('BAD'), $whole, 'skip: the others are stored');

# There and back, gzipped and not, in both formats.
sub round_trip
{
	my ($symbol) = @_;
	my $before = digest($symbol);
	my ($count) = split /\|/, $before;
	for my $format (qw(csv json))
	{
		for my $file ("$tmp/$symbol.$format", "$tmp/$symbol.$format.gz")
		{
			($code) = tradekeep('export', 'candles', '--symbol', $symbol, '--timeframe', '1m', '--format', $format, '-o', $file);
			is($code, 0, "$file: exported");
			is(import_candles($file, '--symbol', $symbol, '--timeframe', '1m'), "0 0 0 $count 0 0", "$file: imported again, unchanged");
		}
	}
	$node->safe_psql('postgres', "DELETE FROM tradekeep.candle WHERE symbol = '$symbol'");
	is(import_candles("$tmp/$symbol.csv.gz"), "0 $count 0 0 0 0", "$symbol: imported where it is missing");
	is(digest($symbol), $before, "$symbol: to the last bit");
	return;
}

round_trip('WHOLE');

SKIP:
{
	my $real = ($ENV{TRADEKEEP_SHARED} || "$FindBin::Bin/../../../shared") . '/data/candles-btc-1m.ccxt.json';
	skip 'the real candles of ../shared/data are not here', 1 unless -e $real;
	my @as_btc = ('--symbol', 'BTC', '--timeframe', '1m');

	is(import_candles($real, @as_btc), '0 13681 0 0 0 0', 'real bars');
	is(import_candles($real, @as_btc), '0 0 0 13681 0 0', 'real bars again');
	gzip($real => "$tmp/real.gz") or die $GzipError;
	is(import_candles("$tmp/real.gz", @as_btc), '0 0 0 13681 0 0', 'real bars gzipped');
	round_trip('BTC');
}

$node->stop;
done_testing();
