\echo Use "ALTER EXTENSION tradekeep UPDATE TO '0.3.0'" to load this file. \quit
